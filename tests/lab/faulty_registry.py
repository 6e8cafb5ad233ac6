# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""A registry that misbehaves as a test wants: an HTTPS proxy in this process, in front of the lab's real registry.

with FaultyRegistry.of(lab) as registry:
    registry.trust_on(host)
    registry.fault = Fault("throttled", retry_after=3)
    ...                                   # something pulls registry.reference("billing-api:1.0.0")
    assert registry.count("HEAD", "tag") == 1
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import io
import json
import socket
import socketserver
import ssl
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import IO, Literal, Self

from tests.lab import keys, network
from tests.lab.hosts import Host
from tests.lab.lab import Lab
from tests.lab.push import Client
from tests.lab.registry import HOSTNAME

# ping: /v2/; tag, digest: a manifest by tag, by digest; blob: a layer or a configuration
Kind = Literal["ping", "tag", "digest", "blob", "other"]
Mode = Literal[
    "pass",  # as the real registry answers
    "down",  # connections are refused; of some requests only: they are cut off
    "unauthorized",  # 401, whoever asks
    "throttled",  # 429 with Retry-After
    "error",  # 500
    "hanging",  # accepts, reads the request, never answers
    "truncated",  # a blob ends in the middle of what was announced
    "wrong_digest",  # a tag is said to have WRONG_DIGEST; every manifest is another one than its digest says
    "moved_tag",  # the tag has the first digest for one HEAD, the second one afterwards
    "no_platform",  # a tag is an index of images for s390x alone
]
WRONG_DIGEST = "sha256:" + "f" * 64
_INDEX = "application/vnd.oci.image.index.v1+json"
_CHUNK = 1 << 16
_ASKED = ("Accept", "Authorization", "Range")
_ANSWERED = ("Content-Length", "Content-Range", "Content-Type", "Docker-Content-Digest", "Etag", "WWW-Authenticate")
_TRUST = """
import json, os, pathlib, sys
given = json.load(sys.stdin)
certificate = pathlib.Path("/etc/docker/certs.d", given["registry"], "ca.crt")
certificate.parent.mkdir(parents=True, exist_ok=True)
certificate.write_text(given["ca"])
config = pathlib.Path("/root/.docker/config.json")
config.parent.mkdir(mode=0o700, exist_ok=True)
content = json.loads(config.read_text()) if config.exists() else {}
content.setdefault("auths", {})[given["registry"]] = {"auth": given["auth"]}
new = config.with_suffix(".new")
new.touch(mode=0o600)
new.write_text(json.dumps(content, indent=4, sort_keys=True) + chr(10))
new.replace(config)
"""


@dataclass(frozen=True)
class Fault:
    """How the registry behaves.

    Attributes:
        mode: what it does, see Mode.
        only: kinds of request that it does it to; () for all.
        tag: for `wrong_digest`, `moved_tag`, `no_platform`: the tag that is meant; '' for every one.
        digests: for `moved_tag`, what the tag has at first and what it has then.
        retry_after: seconds, for `throttled`.
    """

    mode: Mode = "pass"
    only: tuple[Kind, ...] = ()
    tag: str = ""
    digests: tuple[str, str] = ("", "")
    retry_after: int = 1

    def meets(self, request: Request) -> bool:
        """Whether this request is answered badly."""
        return not self.only or request.kind in self.only


@dataclass
class Request:
    """One request; `status` is 0 where it got no answer."""

    method: str
    path: str
    authorized: bool
    status: int = 0
    kind: Kind = field(init=False, default="other")
    repository: str = field(init=False, default="")
    name: str = field(init=False, default="")

    def __post_init__(self) -> None:
        words = self.path.strip("/").split("/")
        if words == ["v2"]:
            self.kind = "ping"
        elif len(words) > 3 and words[0] == "v2" and words[-2] in ("manifests", "blobs"):
            self.repository, self.name = "/".join(words[1:-2]), words[-1]
            by_tag: Kind = "digest" if self.name.startswith("sha256:") else "tag"
            self.kind = "blob" if words[-2] == "blobs" else by_tag


@dataclass
class _Answer:
    status: int
    headers: dict[str, str]
    body: IO[bytes]
    length: int = sys.maxsize  # of what is sent of the body, where that is less than the headers announce


class FaultyRegistry:
    """The proxy; it listens while its `with` block runs.

    Attributes:
        requests: every request so far, in order; may be cleared.
    """

    def __init__(self, address: str, upstream: Client, certificate: tuple[Path, Path], port: int = 0) -> None:
        """Prepare; nothing listens yet.

        Args:
            address: where to listen.
            upstream: the real registry, and the login and authority that `inventory_entry` and `trust_on` hand out.
            certificate: certificate for the address by the same authority, and its key.
            port: where to listen; 0 for a free port.
        """
        self.address, self.port, self.requests = address, port, list[Request]()
        self._upstream = upstream
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(*certificate)
        self._state = (Fault(), threading.Event())  # The event comes when this fault goes.
        self._server: _Server | None = None
        self._moved = False
        self._tags: dict[str, str] = {}  # repository -> the tag last asked for
        self._indexes: dict[str, bytes] = {}

    @classmethod
    def of(cls, lab: Lab, port: int = 0) -> Self:
        """The proxy of a lab that is up, on the address of this machine that the lab's hosts see."""
        address = network.address(lab.subnet, network.GATEWAY)
        authority = keys.ensure_authority(lab.dir, lab.name)
        names = {HOSTNAME: "DNS", address: "IP"}
        certificate = keys.ensure_certificate(lab.dir / "faulty_registry", authority, "faulty_registry", names)
        return cls(address, lab.registry.client, certificate, port)

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(self, *_error: object) -> None:
        self._state[1].set()
        self._close()

    # -- what tests use

    @property
    def name(self) -> str:
        """How Docker names this registry, `address:port`."""
        return f"{self.address}:{self.port}"

    def reference(self, image: str) -> str:
        """How hosts name an image here, `NAME:TAG` -> `address:port/NAME:TAG`."""
        return f"{self.name}/{image}"

    @property
    def fault(self) -> Fault:
        """How it behaves now; set it to change that, also while requests hang: they then end without an answer."""
        return self._state[0]

    @fault.setter
    def fault(self, fault: Fault) -> None:
        gone = self._state[1]
        self._state, self._moved = (fault, threading.Event()), False
        gone.set()
        if fault.mode == "down" and not fault.only:
            self._close()
        else:
            self._listen()

    def count(self, method: str, *kinds: Kind) -> int:
        """How many such requests there were; without the first half of a login, which asks what to log in with."""
        return sum(
            request.method == method and request.kind in kinds and (request.authorized or request.status != 401)
            for request in self.requests
        )

    def inventory_entry(self) -> dict[str, str]:
        """What `docker_registries` needs in addition so that the role docker lets a host use this registry."""
        login = {"username": self._upstream.user, "password": self._upstream.password}
        return {"registry": self.name, "ca_src": str(self._upstream.authority), **login}

    def trust_on(self, host: Host) -> None:
        """Let Docker on a host use this registry, without a run of the playbook; what it has already is kept."""
        login = f"{self._upstream.user}:{self._upstream.password}".encode()
        given = {
            "registry": self.name,
            "ca": self._upstream.authority.read_text(),
            "auth": base64.b64encode(login).decode(),
        }
        host.ssh(f"python3 -c '{_TRUST}'", input_text=json.dumps(given))

    # -- inside

    def _listen(self) -> None:
        if self._server is None:
            self._server = _Server((self.address, self.port), self)
            self.port = int(self._server.server_address[1])
            threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def _close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def secure(self, connection: socket.socket) -> ssl.SSLSocket:
        """Speak TLS on an accepted connection; the handshake comes with the first read, in the thread that serves."""
        return self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)

    def serve(self, handler: _Handler) -> None:
        """Answer one request as the fault says."""
        request = Request(handler.command, handler.path, "Authorization" in handler.headers)
        self.requests.append(request)
        fault, gone = self._state
        mode = fault.mode if fault.meets(request) else "pass"
        if mode == "hanging":
            gone.wait()
        if mode in ("hanging", "down"):
            return
        with contextlib.ExitStack() as stack:
            answer = _refusal(fault, mode) or self._forward(handler, request, fault, mode, stack)
            request.status = answer.status
            handler.give(answer)

    def _forward(
        self, handler: _Handler, request: Request, fault: Fault, mode: Mode, stack: contextlib.ExitStack
    ) -> _Answer:
        # Docker sends one Accept for each kind of manifest that it can read.
        asked = {name: ", ".join(handler.headers.get_all(name, [])) for name in _ASKED if name in handler.headers}
        if request.kind == "digest" and request.name in self._indexes:
            return _index_answer(self._indexes[request.name])
        meant = request.kind == "tag" and fault.tag in ("", request.name)
        if request.kind == "tag":
            self._tags[request.repository] = request.name
        method, name = request.method, request.name
        if mode == "moved_tag" and meant:
            name = fault.digests[self._moved]
        elif mode == "no_platform" and meant:
            method = "GET"  # The index names the real image, so that only the platform is wrong about it.
        elif mode == "wrong_digest" and name == WRONG_DIGEST:
            name = self._tags.get(request.repository, name)
        path = request.path.removesuffix(request.name) + name if request.name else request.path
        answer = stack.enter_context(self._ask(method, path, asked))
        if answer.status != 200 and answer.status != 206:
            return answer
        if mode == "moved_tag" and meant and method == "HEAD":
            self._moved = True
        if mode == "no_platform" and meant:
            body = _foreign_index(answer)
            self._indexes[_digest(body)] = body
            return _index_answer(body)
        if mode == "wrong_digest" and (meant or request.kind == "digest"):
            return _altered(answer, WRONG_DIGEST if meant else request.name)
        if mode == "truncated" and request.kind == "blob":
            answer.length = int(answer.headers["Content-Length"]) // 2
        return answer

    @contextlib.contextmanager
    def _ask(self, method: str, path: str, headers: Mapping[str, str]) -> Iterator[_Answer]:
        """Ask the real registry; its answer can be read while the block runs."""
        trust = ssl.create_default_context(cafile=str(self._upstream.authority))
        connection = http.client.HTTPSConnection(self._upstream.address, self._upstream.port, context=trust, timeout=60)
        try:
            connection.request(method, path, headers=dict(headers))
            response = connection.getresponse()
            kept = {name: response.headers[name] for name in _ANSWERED if name in response.headers}
            yield _Answer(response.status, kept, response)
        finally:
            connection.close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], registry: FaultyRegistry) -> None:
        self.registry = registry
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[socket.socket, object]:
        connection, client = super().get_request()
        return self.registry.secure(connection), client

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that leave, nor of a registry behind that does not answer: both belong to tests."""
        if not isinstance(sys.exception(), (OSError, http.client.HTTPException)):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    """One connection, one request: so that no connection outlives a change of the fault."""

    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 60

    def _serve(self) -> None:
        self.close_connection = True
        self.server.registry.serve(self)

    do_GET = do_HEAD = _serve  # noqa: N815 - the names that the server looks for

    def give(self, answer: _Answer) -> None:
        """Send an answer; the body is cut at its length."""
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        left = answer.length
        while left > 0 and (chunk := answer.body.read(min(left, _CHUNK))):
            self.wfile.write(chunk)
            left -= len(chunk)

    def log_message(self, *_arguments: object) -> None:
        """Keep the test's output clean; FaultyRegistry.requests has it all."""


def _refusal(fault: Fault, mode: Mode) -> _Answer | None:
    """The answer of a registry that does not do what it was asked."""
    refusals: dict[str, tuple[int, str, dict[str, str]]] = {
        "unauthorized": (401, "UNAUTHORIZED", {"WWW-Authenticate": 'Basic realm="lab"'}),
        "throttled": (429, "TOOMANYREQUESTS", {"Retry-After": str(fault.retry_after)}),
        "error": (500, "UNKNOWN", {}),
    }
    if mode not in refusals:
        return None
    status, code, headers = refusals[mode]
    body = json.dumps({"errors": [{"code": code, "message": f"the lab's faulty registry is {mode}"}]}).encode()
    return _Answer(
        status, {**headers, "Content-Type": "application/json", "Content-Length": str(len(body))}, io.BytesIO(body)
    )


def _foreign_index(answer: _Answer) -> bytes:
    """An index that says of a real image that it is for s390x."""
    manifest = answer.body.read()
    entry = {
        "mediaType": answer.headers["Content-Type"],
        "digest": answer.headers["Docker-Content-Digest"],
        "size": len(manifest),
        "platform": {"architecture": "s390x", "os": "linux"},
    }
    return json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [entry]}).encode()


def _index_answer(body: bytes) -> _Answer:
    digest = _digest(body)
    headers = {"Content-Type": _INDEX, "Content-Length": str(len(body)), "Docker-Content-Digest": digest}
    return _Answer(200, headers, io.BytesIO(body))


def _altered(answer: _Answer, digest: str) -> _Answer:
    """The same manifest with a space more, under a digest that is not its own."""
    length = int(answer.headers["Content-Length"]) + 1
    headers = {**answer.headers, "Content-Length": str(length), "Docker-Content-Digest": digest}
    return _Answer(200, headers, io.BytesIO(answer.body.read() + b" "))


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
