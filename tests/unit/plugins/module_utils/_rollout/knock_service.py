# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real receiver on a real socket, and what its clients send."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plugins.module_utils._rollout.clock import Clock
from plugins.module_utils._rollout.knock import Receiver

OLD, SECRET, TOKEN = b"an-old-secret-that-still-counts", b"s3cret-of-the-knock", b"t0ken-of-the-pipeline"
CLIENT = "203.0.113.7"
Headers = dict[str, str]


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def mac(secret: bytes, content: bytes) -> str:
    return hmac.new(secret, content, hashlib.sha256).hexdigest()


class Service:
    """A receiver on a socket, started again when it ends, as systemd does; its clock can be put forward."""

    def __init__(self, folder: Path, secrets: list[bytes], tokens: list[bytes]) -> None:
        self.ahead = 0.0
        self.mark, self.release = folder / "look", folder / "release.json"
        self.secrets, self.tokens = secrets, tokens
        self.address = str(folder / "s")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.address)
        self._listener.listen(64)
        self._receiver = self._serving = self.receiver()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def receiver(self) -> Receiver:
        """Make one that knows what is in its files."""
        clock = Clock(lambda: time.monotonic() + self.ahead, self.now, self._sleep)
        return Receiver(self.mark, self.release, self.secrets, self.tokens, clock)

    def restart(self) -> None:
        """Forget what is in memory."""
        self._receiver = self.receiver()
        wait_until(lambda: self._serving is self._receiver)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._serving = self._receiver
            self._serving.serve(self._listener, 0.02)

    def stop(self) -> None:
        """End it, and what it still waits for."""
        self.ahead += 1e6
        self._stopped.set()
        self._thread.join()
        self._listener.close()

    def now(self) -> float:
        """The receiver's time, seconds since 1970."""
        return time.time() + self.ahead

    def _sleep(self, seconds: float) -> None:
        end = self.now() + seconds
        while self.now() < end:
            time.sleep(0.005)

    # -- what a client does

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(self.address)
        return connection

    def raw(self, request: bytes) -> tuple[int, Any, str]:
        """Send bytes; return status, JSON and head of the answer."""
        with self.connect() as connection:
            with contextlib.suppress(BrokenPipeError):  # A refusal may come before all is sent.
                connection.sendall(request)
            return received(connection)

    def ask(self, method: str, path: str, headers: Headers, body: bytes = b"") -> tuple[int, Any, str]:
        values = {"Host": "x", "X-Real-IP": CLIENT, "Content-Length": str(len(body)), **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in values.items())]
        return self.raw("\r\n".join([*lines, "", ""]).encode() + body)

    def knock(self, headers: Headers, body: bytes = b"{}") -> int:
        return self.ask("POST", "/-/knock", headers, body)[0]

    def took(self) -> bool:
        """Take the mark away, as the agent does; whether it was there."""
        there = self.mark.exists()
        self.mark.unlink(missing_ok=True)
        return there


def received(connection: socket.socket) -> tuple[int, Any, str]:
    """Read an answer to its end."""
    content = b""
    with contextlib.suppress(ConnectionResetError):  # What was not read of the request
        while chunk := connection.recv(65536):
            content += chunk
    head, _end, body = content.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body), head.decode()


def head(*lines: str) -> bytes:
    return "\r\n".join(["POST /knock HTTP/1.1", f"X-Gitlab-Token: {SECRET.decode()}", *lines, "", ""]).encode()


def github(body: bytes = b"{}", secret: bytes = SECRET, delivery: str = "7") -> Headers:
    return {"X-Hub-Signature-256": f"sha256={mac(secret, body)}", "X-GitHub-Delivery": delivery}


def ours(at: float, body: bytes = b"{}", secret: bytes = SECRET) -> Headers:
    return {"X-Billing-Signature": f"t={at:.0f},v1={mac(secret, f'{at:.0f}.'.encode() + body)}"}


def gitlab(secret: bytes = SECRET) -> Headers:
    return {"X-Gitlab-Token": secret.decode()}


def bearer(secret: bytes = SECRET) -> Headers:
    return {"Authorization": f"Bearer {secret.decode()}"}
