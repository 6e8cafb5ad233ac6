# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The receiver behind Nginx: systemd starts it with the first request on its socket, and it ends when nobody asks.

A knock carries no authority but "look now": it touches a file by which systemd starts the agent. What a body says
chooses nothing. The answer for CI is the file that the agent wrote.

Sources: sd_listen_fds(3); docs.github.com/webhooks (X-Hub-Signature-256); docs.gitlab.com, webhooks (X-Gitlab-Token);
distribution.github.io, notifications (a registry sends the same headers each time).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import hmac
import http.client
import io
import ipaddress
import json
import os
import re
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from pathlib import Path

from .clock import Clock
from .store import write_atomic

_LISTEN_FD = 3  # Where systemd passes the first socket.
_LARGEST_HEAD = 16 << 10  # Bytes.
_LARGEST_BODY = 64 << 10  # Bytes.
_PATIENCE = 5.0  # Seconds in which a request must have come, all of it.
_MOST_CONNECTIONS = 8
_WINDOW = 300  # Seconds by which a signature's time may differ from ours, and in which a repeat is noticed.
_REMEMBERED = 1000  # Signed requests.
_PAUSE = 1.0  # Seconds between two touches of the mark.
_MOST_FAILURES, _FAILURES_WITHIN = 20, 60.0  # Failed authentications of one client, and seconds.
_RECENT_FAILURES = 1000  # That are kept, of all clients.
_OURS = re.compile(r"t=([0-9]{1,12}),v1=[0-9a-f]{64}")
_CLOCK = Clock()


class RefusedError(Exception):
    """A request that cannot be taken: status and what is wrong."""


@dataclass(frozen=True)
class Request:
    """What a client asked for; the body only where it is posted."""

    method: str
    path: str
    headers: Message
    body: bytes = b""

    def header(self, name: str) -> bytes | None:
        """Return a header as it was sent, None where it was not."""
        value = self.headers.get(name)
        return None if value is None else str(value).strip().encode("latin-1", "replace")


@dataclass(frozen=True)
class Answer:
    """What the client gets, always JSON, and what the log says of it."""

    status: int
    content: bytes
    kind: str = "request"
    headers: str = ""

    @classmethod
    def error(cls, status: int, message: str, kind: str = "request", headers: str = "") -> Answer:
        """Return an answer in the form of Nginx's own."""
        code = HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")
        return cls(status, json.dumps({"error": {"code": code, "message": message}}).encode() + b"\n", kind, headers)

    def encoded(self) -> bytes:
        """Return it as HTTP carries it."""
        head = (
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(self.content)}\r\nCache-Control: no-store\r\nConnection: close\r\n{self.headers}\r\n"
        )
        return head.encode() + self.content


@dataclass(frozen=True)
class Proof:
    """What a request shows that it may knock.

    Attributes:
        kind: who sends requests of this shape.
        genuine: whether it was made with one of our secrets.
        once: what a repeat has in common with it, '' where all requests of its kind are the same.
        until: when a repeat is taken again, seconds since 1970.
    """

    kind: str
    genuine: bool
    once: str = ""
    until: float = 0.0


def prove(request: Request, secrets: Sequence[bytes], now: float) -> Proof:
    """Check the first shape that the request has: GitHub, our own, GitLab, a registry. `now` in seconds since 1970."""
    hub, ours, lab = map(request.header, ("X-Hub-Signature-256", "X-Billing-Signature", "X-Gitlab-Token"))
    if hub is not None:
        signed = [b"sha256=" + _mac(secret, request.body) for secret in secrets]
        # The delivery is not signed, but two deliveries of the same words are two events
        delivery = request.header("X-GitHub-Delivery") or b""
        return Proof("github", _among(hub, signed), _fingerprint(b"github", hub, delivery), now + _WINDOW)
    if ours is not None:
        match = _OURS.fullmatch(ours.decode("latin-1"))
        at = int(match[1]) if match else 0
        stamp = ours.partition(b",")[0]
        signed = [stamp + b",v1=" + _mac(secret, stamp[2:] + b"." + request.body) for secret in secrets]
        genuine = _among(ours, signed) and abs(now - at) <= _WINDOW
        return Proof("billing", genuine, _fingerprint(b"billing", ours), at + _WINDOW)
    if lab is not None:
        return Proof("gitlab", _among(lab, secrets))
    return Proof("bearer", _bears(request, secrets))


def _mac(secret: bytes, content: bytes) -> bytes:
    return hmac.new(secret, content, hashlib.sha256).hexdigest().encode()


def _among(given: bytes, wanted: Sequence[bytes]) -> bool:
    """Whether it is one of these; all are compared, each in constant time."""
    return sum(hmac.compare_digest(given, one) for one in wanted) > 0


def _bears(request: Request, tokens: Sequence[bytes]) -> bool:
    given = request.header("Authorization") or b""
    return _among(given, [b"Bearer " + token for token in tokens])


def _fingerprint(*parts: bytes) -> str:
    return hashlib.sha256(b"\n".join(parts)).hexdigest()


def read(connection: socket.socket, clock: Clock = _CLOCK) -> Request:
    """Read one request.

    Raises:
        RefusedError: it is none, too large, or has no length.
        socket.timeout: it was not there in time.
    """
    deadline = clock.monotonic() + _PATIENCE

    def more() -> bytes:
        left = deadline - clock.monotonic()
        if left <= 0:
            raise socket.timeout
        connection.settimeout(left)
        chunk = connection.recv(8 << 10)
        if not chunk:
            raise RefusedError(400, "the request is not complete")
        return chunk

    content = bytearray()
    while b"\r\n\r\n" not in content:
        if len(content) > _LARGEST_HEAD:
            raise RefusedError(431, f"more than {_LARGEST_HEAD} bytes of headers")
        content += more()
    head, _end, body = bytes(content).partition(b"\r\n\r\n")
    line, _end, fields = head.partition(b"\r\n")
    words = line.decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise RefusedError(400, "this is no HTTP/1 request")
    try:
        headers = http.client.parse_headers(io.BytesIO(fields + b"\r\n\r\n"))
    except http.client.HTTPException:
        raise RefusedError(431, "too many headers") from None
    if words[0] != "POST":
        return Request(words[0], words[1].partition("?")[0], headers)
    length = _length(headers)
    while len(body) < length:
        body += more()
    return Request(words[0], words[1].partition("?")[0], headers, body[:length])


def _length(headers: Message) -> int:
    lengths = headers.get_all("Content-Length", [])
    if "Transfer-Encoding" in headers or len(lengths) != 1 or not re.fullmatch("[0-9]{1,12}", lengths[0]):
        raise RefusedError(411, "a body needs one Content-Length and no Transfer-Encoding")
    if int(lengths[0]) > _LARGEST_BODY:
        raise RefusedError(413, f"more than {_LARGEST_BODY} bytes")
    return int(lengths[0])


class Seen:
    """Which signed requests were taken: in a file, because the process ends when it is idle. Callers take turns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._until: dict[str, float] = {str(key): float(end) for key, end in json.loads(path.read_text()).items()}
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            self._until = {}

    def first(self, proof: Proof, now: float) -> bool:
        """Whether a request came for the first time; from now on it has come."""
        if self._until.get(proof.once, 0.0) >= now:
            return False
        self._until[proof.once] = proof.until
        self._until = dict(sorted(self._until.items(), key=lambda entry: entry[1])[-_REMEMBERED:])
        write_atomic(self._path, json.dumps(self._until).encode(), 0o600)
        return True


class Receiver:
    """Answers knocks and questions for the release, one thread for each connection.

    Args:
        mark: file that is touched by a knock; whoever looks takes it away.
        release: file that answers a question.
        secrets: any of them signs a knock; none: no knock is taken.
        tokens: any of them may ask; none: no question is answered.
        clock: time.
    """

    def __init__(
        self, mark: Path, release: Path, secrets: Sequence[bytes], tokens: Sequence[bytes], clock: Clock = _CLOCK
    ) -> None:
        self._mark = mark
        self._release_file = release
        self._secrets = secrets
        self._tokens = tokens
        self._clock = clock
        self._lock = threading.Lock()
        self._busy = 0
        self._failures: deque[tuple[float, str]] = deque(maxlen=_RECENT_FAILURES)
        self._seen = Seen(mark.with_name("seen.json"))
        self._touched = clock.monotonic() - _PAUSE
        self._late = False

    def serve(self, listener: socket.socket, idle: float) -> None:
        """Answer until nobody has asked for `idle` seconds."""
        listener.settimeout(idle)
        while True:
            try:
                connection, _address = listener.accept()
            except socket.timeout:
                if self._busy == 0:
                    return
                continue
            if self._busy < _MOST_CONNECTIONS:
                self._beside(self._converse, connection)
            else:
                with connection:
                    _send(connection, Answer.error(503, "too many at once", headers="Retry-After: 1\r\n"), "-")

    def _beside(self, work: Callable[..., None], *arguments: object) -> None:
        """Do it in a thread that counts as busy."""

        def run() -> None:
            try:
                work(*arguments)
            finally:
                with self._lock:
                    self._busy -= 1

        with self._lock:
            self._busy += 1
        threading.Thread(target=run, daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        """Take one request and answer it."""
        who = "-"
        with connection:
            try:
                request = read(connection, self._clock)
                who = _address(request.header("X-Real-IP"))
                answer = self.answer(request, who)
            except RefusedError as refused:
                answer = Answer.error(*refused.args)
            except socket.timeout:
                answer = Answer.error(408, "the request was not complete in time")
            except OSError as error:
                answer = Answer.error(503, "not possible now; see the journal", f"request ({error.strerror})")
            _send(connection, answer, who)

    def answer(self, request: Request, who: str) -> Answer:
        """Return the answer to a request of a client's address; OSError where a file cannot be written."""
        what = request.path.rpartition("/")[2]
        method, keys, act = ("POST", self._secrets, self._knock)
        if what == "release":
            method, keys, act = ("GET", self._tokens, self._release)
        if what not in ("knock", "release") or not keys:
            return Answer.error(404, "there is nothing here")
        if request.method != method:
            return Answer.error(405, f"only {method}", headers=f"Allow: {method}\r\n")
        if self._shut_out(who):
            return Answer.error(429, "too many failures; wait a minute", headers="Retry-After: 60\r\n")
        answer = act(request)
        if answer.status == 401:
            with self._lock:
                self._failures.append((self._clock.monotonic(), who))
        return answer

    def _shut_out(self, who: str) -> bool:
        """Whether this client failed too often; others are not shut out with it."""
        since = self._clock.monotonic() - _FAILURES_WITHIN
        with self._lock:
            return sum(at > since and one == who for at, one in self._failures) >= _MOST_FAILURES

    def _knock(self, request: Request) -> Answer:
        now = self._clock.wall()
        proof = prove(request, self._secrets, now)
        kind = f"knock ({proof.kind})"
        if not proof.genuine:
            return Answer.error(401, "not authorized", kind)
        with self._lock:
            if proof.once and not self._seen.first(proof, now):
                return Answer.error(409, "this knock was heard before", kind)
            wait = self._touched + _PAUSE - self._clock.monotonic()
            late, self._late = self._late, wait > 0
            if wait <= 0:
                self._touch()
        if wait > 0 and not late:  # The agent may have begun to look before this knock
            self._beside(self._touch_later, wait)
        return Answer(202, b'{"looked": "soon"}\n', kind)

    def _touch(self) -> None:
        self._mark.touch(0o600)
        self._touched = self._clock.monotonic()

    def _touch_later(self, wait: float) -> None:
        self._clock.sleep(wait)
        with self._lock:
            if self._late:
                self._late = False
                self._touch()

    def _release(self, request: Request) -> Answer:
        if not _bears(request, self._tokens):
            return Answer.error(401, "not authorized", "release")
        try:
            return Answer(200, self._release_file.read_bytes(), "release")
        except FileNotFoundError:
            return Answer.error(503, "the agent has not looked yet", "release", "Retry-After: 5\r\n")


def _send(connection: socket.socket, answer: Answer, who: str) -> None:
    """Send an answer and log it; a client that is gone, or does not take it in time, gets none."""
    sys.stderr.write(f"{answer.kind} from {who}: {answer.status}\n")
    with contextlib.suppress(OSError):
        connection.settimeout(_PATIENCE)
        connection.sendall(answer.encoded())


def _address(given: bytes | None) -> str:
    """Return the client's address as Nginx says it, harmless to log."""
    try:
        return str(ipaddress.ip_address((given or b"").decode("latin-1")))
    except ValueError:
        return "-"


def _lines(path: Path | None) -> list[bytes]:
    """Return the secrets of a file, one in each line."""
    return [] if path is None else [line.strip() for line in path.read_bytes().splitlines() if line.strip()]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command `receive`."""
    parser.add_argument("--mark", type=Path, required=True, help="file that a knock touches")
    parser.add_argument("--release", type=Path, required=True, help="file that CI gets")
    parser.add_argument("--secrets", type=Path, help="file of secrets, each in a line; without it no knock is taken")
    parser.add_argument("--tokens", type=Path, help="file of tokens, each in a line; without it CI gets no answer")
    parser.add_argument("--idle", type=float, default=10.0, help="seconds (default: %(default).0f)")


def serve(options: argparse.Namespace) -> int:
    """Answer on the socket that systemd passes until nobody asks; return the exit code."""
    if (os.environ.get("LISTEN_PID"), os.environ.get("LISTEN_FDS")) != (str(os.getpid()), "1"):
        sys.stderr.write("billing-rollout: systemd starts this with a socket; see systemctl status '*-knock.socket'\n")
        return 1
    try:
        secrets, tokens = _lines(options.secrets), _lines(options.tokens)
    except OSError as error:
        sys.stderr.write(f"billing-rollout: cannot read {error.filename}: {error.strerror}; run the playbook\n")
        return 1
    with socket.socket(fileno=_LISTEN_FD) as listener:
        Receiver(options.mark, options.release, secrets, tokens).serve(listener, options.idle)
    return 0
