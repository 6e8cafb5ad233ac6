# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real HTTP server that answers as a test wants, and the files by which a registry client finds it."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from plugins.module_utils._rollout.registry import RegistryFiles
from plugins.module_utils._rollout.release import Reference

DIGEST = "sha256:" + "b" * 64
Answer = tuple[int, dict[str, str], bytes]
FOUND: Answer = (200, {"Docker-Content-Digest": DIGEST}, b"")


@dataclass(frozen=True)
class Asked:
    """One request as the server saw it."""

    method: str
    path: str
    authorization: str
    body: str
    accept: str


Rule = Callable[[Asked], Answer]


class Registry:
    """A server whose answers a test chooses; it keeps what it was asked."""

    def __init__(self, certificate: tuple[Path, Path] | None) -> None:
        self.rule: Rule = lambda _asked: FOUND
        self.asked: list[Asked] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                accept = ", ".join(self.headers.get_all("Accept", []))
                asked = Asked(self.command, self.path, self.headers.get("Authorization", ""), body, accept)
                registry.asked.append(asked)
                status, headers, content = registry.rule(asked)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_HEAD = do_GET = do_POST = answer  # noqa: N815 - the names that the server looks for

            def log_message(self, *_arguments: object) -> None:
                """Keep the test's output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.name = f"127.0.0.1:{self.server.server_port}"
        self.url = f"{'https' if certificate else 'http'}://{self.name}"
        if certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(*certificate)
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def reference(self) -> Reference:
        """An image in this registry."""
        return Reference.parse(f"{self.name}/billing-api:1.0.0")

    @property
    def requests(self) -> list[tuple[str, str]]:
        """Method and path of every request so far."""
        return [(asked.method, asked.path) for asked in self.asked]

    def stop(self) -> None:
        """Refuse connections from now on."""
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def running(certificate: tuple[Path, Path] | None = None) -> Iterator[Registry]:
    """Run a registry for the time of a block, with TLS where a certificate and its key are given."""
    registry = Registry(certificate)
    try:
        yield registry
    finally:
        registry.stop()


def basic(login: str) -> str:
    """`user:password` as Docker keeps it and HTTP carries it."""
    return base64.b64encode(login.encode()).decode()


def files(folder: Path, registry: str, **entry: str) -> RegistryFiles:
    """Docker's files that allow this registry without TLS, with an entry of config.json for it."""
    (folder / "daemon.json").write_text(json.dumps({"insecure-registries": [registry]}))
    if entry:
        (folder / "config.json").write_text(json.dumps({"auths": {registry: entry}}))
    return RegistryFiles(folder / "config.json", folder / "certs.d", folder / "daemon.json")
