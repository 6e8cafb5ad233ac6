# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Customers, plans, subscriptions and invoices: what can be created and read, and how a mistake is answered."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from .conftest import new_customer


def invoice(customer: int, **fields: Any) -> dict[str, Any]:
    return {"customer_id": customer, "amount_minor": 1299, "currency": "EUR", **fields}


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    return body


def test_an_invoice_is_written_and_read_back(client: httpx.Client, customer: int) -> None:
    plan = client.post(
        "/plans",
        json={"code": "pro", "name": "Pro", "amount_minor": 1299, "currency": "EUR", "interval": "month"},
    ).json()
    subscription = client.post("/subscriptions", json={"customer_id": customer, "plan_id": plan["id"]}).json()
    sent = invoice(
        customer, subscription_id=subscription["id"], reference="r-1", description="Größe ✓", due_on="2026-12-31"
    )
    answer = client.post("/invoices", json=sent)
    assert answer.status_code == 201
    assert answer.json().items() >= sent.items()
    assert client.get(answer.headers["location"]).json() == answer.json()
    assert client.get("/invoices", params={"reference": "r-1"}).json()["items"] == [answer.json()]
    assert subscription["status"] == "active"
    for path in (f"/plans/{plan['id']}", f"/subscriptions/{subscription['id']}", f"/customers/{customer}"):
        assert client.get(path).status_code == 200
    assert client.get("/subscriptions", params={"customer_id": customer}).json()["items"] == [subscription]


def test_pages_hold_every_row_once(client: httpx.Client) -> None:
    customer = new_customer(client)
    written = [client.post("/invoices", json=invoice(customer)).json()["id"] for _index in range(5)]
    read: list[int] = []
    after: int | None = 0
    while after is not None:
        page = client.get("/invoices", params={"customer_id": customer, "limit": 2, "after": after}).json()
        read += [item["id"] for item in page["items"]]
        after = page["next_after"]
    assert read == written
    assert client.get("/invoices", params={"customer_id": customer, "limit": 5}).json()["next_after"] is None


@pytest.mark.parametrize("path", ["/customers/999999", "/plans/999999", "/invoices/999999", "/subscriptions/999999"])
def test_what_does_not_exist_is_404(client: httpx.Client, path: str) -> None:
    assert path in problem(client.get(path), 404, "not_found")["detail"]


def test_unknown_routes_and_methods_are_problems_too(client: httpx.Client) -> None:
    problem(client.get("/nothing"), 404, "not_found")
    assert problem(client.delete("/invoices"), 405, "method_not_allowed")


def test_what_exists_already_is_409(client: httpx.Client, customer: int) -> None:
    same_mail = {"name": "Eve", "email": client.get(f"/customers/{customer}").json()["email"].upper()}
    problem(client.post("/customers", json=same_mail), 409, "conflict")
    assert client.post("/invoices", json=invoice(customer, reference="twice")).status_code == 201
    problem(client.post("/invoices", json=invoice(customer, reference="twice")), 409, "conflict")


def test_references_to_nothing_are_422(client: httpx.Client, customer: int) -> None:
    problem(client.post("/invoices", json=invoice(999999)), 422, "unknown_reference")
    problem(client.post("/subscriptions", json={"customer_id": customer, "plan_id": 999999}), 422, "unknown_reference")


def test_an_invoice_cannot_name_the_subscription_of_another_customer(client: httpx.Client, customer: int) -> None:
    plan = {"code": "other", "name": "Other", "amount_minor": 1, "currency": "EUR", "interval": "year"}
    plan_id = client.post("/plans", json=plan).json()["id"]
    theirs = client.post("/subscriptions", json={"customer_id": new_customer(client), "plan_id": plan_id}).json()["id"]
    answer = client.post("/invoices", json=invoice(customer, subscription_id=theirs))
    problem(answer, 422, "unknown_reference")


@pytest.mark.parametrize(
    "fields",
    [
        {"amount_minor": 12.99},
        {"amount_minor": "1299"},
        {"amount_minor": 0},
        {"amount_minor": -1},
        {"amount_minor": 10**16},
        {"amount_minor": True},
        {"currency": "eur"},
        {"currency": None},
        {"customer_id": 2**63},
        {"due_on": "tomorrow"},
        {"description": "nul \x00"},
        {"description": ""},
        {"reference": "with space"},
        {"amout_minor": 1},
    ],
)
def test_a_malformed_invoice_is_422_and_names_the_field(
    client: httpx.Client, customer: int, fields: dict[str, Any]
) -> None:
    body = problem(client.post("/invoices", json=invoice(customer, **fields)), 422, "invalid")
    assert body["errors"][0]["field"] == f"body.{next(iter(fields))}"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"description": "\\ud800"}', b"[" * 100_000, b"9" * 5000]
)
def test_a_malformed_body_is_the_clients_error(client: httpx.Client, body: bytes) -> None:
    headers = {"content-type": "application/json", "idempotency-key": "garbage"}
    assert client.post("/invoices", content=body, headers=headers).status_code in {400, 422}


@pytest.mark.parametrize(
    "path", ["/invoices/0", "/invoices/x", f"/invoices/{2**63}", "/invoices?limit=0", "/invoices?reference=%00"]
)
def test_malformed_addresses_are_422(client: httpx.Client, path: str) -> None:
    problem(client.get(path), 422, "invalid")


def test_the_version_says_who_answers(client: httpx.Client) -> None:
    answer = client.get("/version").json()
    assert answer.items() >= {
        "release": "r1", "slot": "blue", "revision": "abc", "version": "1.0.0", "schema": "0002",
    }.items()  # fmt: skip
    assert answer["hostname"]


def test_metrics_count_requests_by_route_template(client: httpx.Client) -> None:
    def count() -> float:
        lines = client.get("/metrics").text.splitlines()
        wanted = 'billing_http_requests_total{method="GET",route="/invoices/{row_id}",status="404"} '
        return next((float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted)), 0.0)

    before = count()
    client.get("/invoices/888888")
    client.get("/invoices/777777")
    assert count() == before + 2
    assert 'billing_build_info{release="r1",revision="abc",slot="blue",version="1.0.0"} 1.0' in (
        client.get("/metrics").text
    )


def test_request_ids_are_kept_if_sane(client: httpx.Client) -> None:
    assert client.get("/version", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert client.get("/version", headers={"X-Request-ID": "a b"}).headers["x-request-id"] != "a b"
