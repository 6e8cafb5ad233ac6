# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""A client of the service: writes invoices through Nginx and reads them back."""

from __future__ import annotations

import http.client
import json
import threading
import time
import uuid
from dataclasses import dataclass
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: str

    def json(self) -> dict[str, Any]:
        """Return the body as JSON."""
        return dict(json.loads(self.body))


class Client:
    """Speaks HTTP to one address, a new connection per request. Times are in seconds."""

    def __init__(self, address: str, timeout: float = 10) -> None:
        self.address = address
        self.timeout = timeout

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send one request; raise OSError or HTTPException where no answer comes."""
        connection = http.client.HTTPConnection(self.address, 80, timeout=self.timeout)
        content = None if body is None else json.dumps(body)
        extra = {} if body is None else {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
        try:
            connection.request(method, path, content, {**extra, **(headers or {})})
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, names, answer.read().decode())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        """Send a GET."""
        return self.call("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def write_invoice(self) -> dict[str, Any]:
        """Create a customer and an invoice, and return the invoice."""
        mark = uuid.uuid4().hex[:12]
        customer = self.call("POST", "/customers", {"name": "Grace Hopper", "email": f"{mark}@example.com"})
        assert customer.status == 201, customer
        wanted = {"customer_id": customer.json()["id"], "reference": mark, "amount_minor": 4200, "currency": "EUR"}
        created = self.call("POST", "/invoices", wanted)
        assert created.status == 201, created
        invoice = created.json()
        assert invoice.items() >= wanted.items()
        return invoice

    def serves(self, invoice: dict[str, Any]) -> bool:
        """Tell whether the service answers, with this invoice."""
        try:
            answer = self.get(f"/invoices/{invoice['id']}")
        except (OSError, http.client.HTTPException):
            return False
        return answer.status == 200 and answer.json() == invoice

    def wait_serves(self, invoice: dict[str, Any], timeout: float = 120) -> float:
        """Wait until the service answers with this invoice; return the seconds it took."""
        started = time.monotonic()
        while not self.serves(invoice):
            assert time.monotonic() - started < timeout, f"no answer with {invoice} after {timeout:.0f} s"
            time.sleep(0.1)
        return time.monotonic() - started


class Probe:
    """Reads one invoice again and again in the background, and counts what was not answered with it."""

    def __init__(self, client: Client, invoice: dict[str, Any], pause: float = 0.02) -> None:
        self.requests = 0
        self.failed = 0
        self._client = Client(client.address, timeout=5)
        self._invoice = invoice
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def _loop(self) -> None:
        while not self._stop.is_set():
            self.requests += 1
            self.failed += not self._client.serves(self._invoice)
            self._stop.wait(self._pause)

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=30)
