# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""A POST with an Idempotency-Key is executed at most once, however often and however concurrently it is sent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from .conftest import Cluster, StartThread, ThreadApi, new_customer


def count(cluster: Cluster, database: str, table: str) -> int:
    with cluster.admin(database) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()  # noqa: S608
    assert row is not None
    return int(row[0])


def test_the_same_request_again_gets_the_same_bytes(client: httpx.Client, customer: int) -> None:
    sent = {"customer_id": customer, "amount_minor": 5, "currency": "EUR"}
    first = client.post("/invoices", json=sent, headers={"Idempotency-Key": "same"})
    reordered = b'{ "currency":"EUR",  "amount_minor":5, "customer_id":%d}' % customer
    headers = {"Idempotency-Key": "same", "Content-Type": "application/json"}
    again = client.post("/invoices", content=reordered, headers=headers)
    assert (first.status_code, first.headers["idempotency-replayed"]) == (201, "false")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"]
    assert len(client.get("/invoices", params={"customer_id": customer}).json()["items"]) == 1


def test_without_a_key_each_request_writes(client: httpx.Client, customer: int) -> None:
    sent = {"customer_id": customer, "amount_minor": 5, "currency": "EUR"}
    assert client.post("/invoices", json=sent).json()["id"] != client.post("/invoices", json=sent).json()["id"]


def test_a_key_of_another_request_is_422(client: httpx.Client, customer: int) -> None:
    headers = {"Idempotency-Key": "taken"}
    sent = {"customer_id": customer, "amount_minor": 5, "currency": "EUR"}
    assert client.post("/invoices", json=sent, headers=headers).status_code == 201
    other_body = client.post("/invoices", json={**sent, "amount_minor": 6}, headers=headers)
    other_path = client.post("/customers", json={"name": "A", "email": "k@example.org"}, headers=headers)
    for answer in (other_body, other_path):
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


def test_a_failed_request_does_not_use_its_key_up(client: httpx.Client, customer: int) -> None:
    headers = {"Idempotency-Key": "retried"}
    sent = {"customer_id": 999999, "amount_minor": 5, "currency": "EUR"}
    assert client.post("/invoices", json=sent, headers=headers).status_code == 422
    answer = client.post("/invoices", json={**sent, "customer_id": customer}, headers=headers)
    assert (answer.status_code, answer.headers["idempotency-replayed"]) == (201, "false")


@pytest.mark.parametrize("key", ["", "x" * 256, "with space", "caf\u00e9"])
def test_a_malformed_key_is_422(client: httpx.Client, customer: int, key: str) -> None:
    sent = {"customer_id": customer, "amount_minor": 5, "currency": "EUR"}
    answer = client.post("/invoices", json=sent, headers={"Idempotency-Key": key.encode()})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


def test_concurrent_requests_with_one_key_write_once(shared_api: ThreadApi, customer: int) -> None:
    sent = {"customer_id": customer, "amount_minor": 7, "currency": "EUR"}

    def post(key: str) -> httpx.Response:
        return httpx.post(f"{shared_api.url}/invoices", json=sent, headers={"Idempotency-Key": key}, trust_env=False)

    keys = [f"burst-{n % 5}" for n in range(60)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(post, keys))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 5
    assert [answer.headers["idempotency-replayed"] for answer in answers].count("false") == 5
    assert len(shared_api.client.get("/invoices", params={"customer_id": customer}).json()["items"]) == 5


def test_two_servers_share_the_keys(cluster: Cluster, database: str, start_api: StartThread) -> None:
    """As the two slots of a rollout do."""
    blue, green = (start_api(DATABASE_URL=cluster.url(database), BILLING_SLOT=slot) for slot in ("blue", "green"))
    customer = new_customer(blue.client)
    sent = {"customer_id": customer, "amount_minor": 7, "currency": "EUR"}
    answers = [api.client.post("/invoices", json=sent, headers={"Idempotency-Key": "k"}) for api in (blue, green)]
    assert [answer.headers["idempotency-replayed"] for answer in answers] == ["false", "true"]
    assert count(cluster, database, "invoices") == 1


def test_a_request_takes_the_place_of_one_that_rolled_back(
    cluster: Cluster, database: str, start_api: StartThread
) -> None:
    """The first claims the key and waits for a lock until lock_timeout; the second waits for the first's claim."""
    api = start_api(DATABASE_URL=cluster.url(database), BILLING_DB_LOCK_TIMEOUT_SECONDS="1.5")
    customer = new_customer(api.client)
    sent = {"customer_id": customer, "amount_minor": 7, "currency": "EUR"}

    def post(_index: int) -> int:
        answer = httpx.post(f"{api.url}/invoices", json=sent, headers={"Idempotency-Key": "k"}, trust_env=False)
        return answer.status_code

    with ThreadPoolExecutor(2) as pool:
        with cluster.admin(database) as connection, connection.transaction():
            connection.execute("LOCK TABLE invoices IN EXCLUSIVE MODE")
            first, second = pool.map(post, range(2))
        assert {first, second} <= {409, 503}
    assert count(cluster, database, "invoices") == 0
    assert count(cluster, database, "idempotency_keys") == 0
    assert post(0) == 201
    assert count(cluster, database, "invoices") == 1


def test_old_keys_are_swept_faster_than_new_ones_come(cluster: Cluster, database: str, start_api: StartThread) -> None:
    api = start_api(DATABASE_URL=cluster.url(database))
    with cluster.admin(database) as connection:
        connection.execute(
            "INSERT INTO idempotency_keys (key, fingerprint, status, location, body, created_at)"
            " SELECT 'old' || n, '', 201, '/', '', now() - interval '49 hours' FROM generate_series(1, 6) n"
        )
    for n in range(3):
        sent = {"name": "A", "email": f"sweep{n}@example.org"}
        assert api.client.post("/customers", json=sent, headers={"Idempotency-Key": f"new{n}"}).status_code == 201
    assert count(cluster, database, "idempotency_keys") == 3
