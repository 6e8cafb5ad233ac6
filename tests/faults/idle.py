# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Clients that pause for so long that every Nginx worker from before a reload has something to wait for."""

from __future__ import annotations

import contextlib
import http.client
import threading
from types import TracebackType
from typing import Self

# Less than the deployment's keepalive_min_timeout: the worker waits for the next request, and no request meets its end.
_PAUSE = 1.5
_CLIENTS = 3


class Idle:
    """A few keep-alive connections with a long pause between two requests, at different times."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._stop = threading.Event()
        first = [_PAUSE * number / _CLIENTS for number in range(_CLIENTS)]
        self._threads = [threading.Thread(target=self._loop, args=(delay,), daemon=True) for delay in first]

    def _loop(self, delay: float) -> None:
        self._stop.wait(delay)
        while not self._stop.is_set():
            connection = http.client.HTTPConnection(self._address, 80, timeout=5)
            with contextlib.suppress(OSError, http.client.HTTPException):
                while not self._stop.is_set():
                    connection.request("GET", "/health")
                    connection.getresponse().read()
                    self._stop.wait(_PAUSE)
            connection.close()
            self._stop.wait(0.1)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)
