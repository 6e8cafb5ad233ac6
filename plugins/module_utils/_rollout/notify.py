# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell receivers on the network how rollouts ended.

An entry of the history is posted to a receiver until that has taken it, and then no more. Every attempt is written down
before it is made. What can repeat one is a crash, or a receiver that took it and did not say so in time: it then comes
with the same `Idempotency-Key`. An address and a token are secrets: messages, exceptions and files name the receiver.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import re
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import IO, Any

from . import journal
from .clock import Clock
from .registry_http import Answer, within
from .release import RolloutError
from .store import alone, write_atomic

_KINDS = ("json", "slack", "ntfy")
_KNOWN = ("name", "kind", "url", "token", "outcomes")
_LONGEST_TEXT = 1000  # Characters; at most 4 bytes each. ntfy makes an attachment of more than 4096 bytes.
# By priority of the journal: what ntfy calls urgent, high and default, and the picture that it shows.
_NTFY = {journal.CRITICAL: ("5", "rotating_light"), journal.ERROR: ("4", "x"), journal.WARNING: ("3", "warning")}
_NTFY_QUIET = ("3", "white_check_mark")

ATTEMPTS = 6
HISTORY = 500  # Entries that are looked back.
_FIRST_WAIT, _WAIT_FACTOR, _LONGEST_WAIT = 30.0, 4.0, 3600.0  # Seconds between attempts: 30 s, 2, 8, 32 and 60 min.
_REQUEST, _TOGETHER = 5.0, 15.0  # Seconds for one request, and for all of a call.
_CLOCK = Clock()


@dataclass(frozen=True)
class Target:
    """A receiver.

    Attributes:
        name: how it is called everywhere; tells receivers apart.
        kind: `json` (the entry of the history), `slack` (what Slack and Mattermost take) or `ntfy`.
        url: where to post; https, or http for one on this host or on a network that is trusted.
        token: sent as bearer token, '' for none.
        outcomes: of which entries it is told, empty for all.
    """

    name: str
    kind: str
    url: str = field(repr=False)
    token: str = field(default="", repr=False)
    outcomes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Target:
        """Read a receiver; RolloutError input_invalid, without any value that may be secret, where it is none."""
        if not isinstance(values, Mapping) or not set(values) <= set(_KNOWN):
            raise _invalid("a receiver", f"it is a mapping of {', '.join(_KNOWN)}, and of nothing else")
        name, kind, url, token = (values.get(key, "") for key in _KNOWN[:4])
        outcomes = values.get("outcomes", ())
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise _invalid("a receiver", "its name must be text, in one line, and not empty")
        if kind not in ("", *_KINDS):
            raise _invalid(name, f"its kind must be one of {', '.join(_KINDS)}")
        if not isinstance(url, str) or not _is_address(url):
            raise _invalid(name, "its url must be https://host/... (http:// also works), without user and password")
        if not isinstance(token, str) or not re.fullmatch(r"[!-~]*", token):
            raise _invalid(name, "its token must be ASCII text without spaces and line breaks")
        if not isinstance(outcomes, (list, tuple)) or not all(isinstance(one, str) for one in outcomes):
            raise _invalid(name, "its outcomes must be a list of words, such as rejected and rolled_back")
        return cls(name, kind or "json", url, token, tuple(outcomes))

    def wants(self, entry: Mapping[str, Any]) -> bool:
        """Whether it is to be told of an entry."""
        return not self.outcomes or entry["outcome"] in self.outcomes


def render(target: Target, entry: Mapping[str, Any], host: str) -> tuple[dict[str, str], bytes]:
    """Return headers and body of the request that tells a receiver of an entry, without its token.

    Sources: docs.ntfy.sh/publish; Slack's documentation of incoming webhooks and of escaping text.
    """
    text = journal.sentence(entry, host)
    text = text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
    headers = {"Idempotency-Key": _header(entry["id"]), "Content-Type": "application/json"}
    if target.kind == "ntfy":
        urgency, picture = _NTFY.get(journal.priority(entry), _NTFY_QUIET)
        outcome = entry["outcome"].replace("_", " ")
        headers["Content-Type"] = "text/plain; charset=utf-8"
        headers["Title"] = _header(f"{entry['service']} {outcome} on {host}")
        headers["Priority"] = urgency
        headers["Tags"] = _header(f"{picture},{entry['service']},{entry['outcome']}")
        return headers, text.encode(errors="replace")
    if target.kind == "slack":
        escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return headers, json.dumps({"text": escaped}).encode()
    return headers, json.dumps({**entry, "host": host, "text": text}, sort_keys=True).encode()


def post(target: Target, headers: Mapping[str, str], body: bytes, seconds: float) -> str:
    """Post once and return why it was not taken, '' where it was.

    A redirect counts as a refusal: the token is for the address that was given.

    Args:
        target: where to.
        headers, body: what.
        seconds: for all of it.
    """
    authorization = {"Authorization": f"Bearer {target.token}"} if target.token else {}
    request = urllib.request.Request(  # noqa: S310 - the scheme is https or http: see Target.parse
        target.url, body, {"User-Agent": "billing-rollout", **headers, **authorization}, method="POST"
    )

    def exchange() -> Answer:
        opener = urllib.request.build_opener(_NoRedirects())
        try:
            with opener.open(request, timeout=seconds) as response:
                return Answer(response.status, response.headers, b"", "")
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, b"", "")

    try:
        status = within(seconds, exchange).status
    except (OSError, ValueError, http.client.HTTPException) as error:
        return _reason(error)
    return "" if 200 <= status < 300 else f"HTTP {status}"


Send = Callable[[Target, Mapping[str, str], bytes, float], str]


@dataclass
class _Box:
    """What one receiver is still to be told.

    Attributes:
        seen: id of the newest entry that was looked at, '' for none.
        seen_at: when that was written, for a history in which it is not found.
        waiting: id of an entry -> attempts that were made, and the time (seconds since 1970) of the next.
    """

    seen: str
    seen_at: str
    waiting: dict[str, tuple[int, float]]

    def look(self, target: Target, recent: Sequence[Mapping[str, Any]]) -> None:
        """Take up what is new, and let go of what is not in the history any more."""
        ids = [entry["id"] for entry in recent]
        if self.seen in ids:
            new = recent[ids.index(self.seen) + 1 :]
        else:
            new = [entry for entry in recent if entry["at"] > self.seen_at]
        self.waiting = {one: self.waiting[one] for one in ids if one in self.waiting}
        self.waiting.update({entry["id"]: (0, 0.0) for entry in new if target.wants(entry)})
        if new:
            self.seen, self.seen_at = new[-1]["id"], new[-1]["at"]

    @property
    def failed(self) -> int:
        """How many attempts failed: those who answer come first."""
        return sum(made for made, _time in self.waiting.values())

    def due(self, entry: Mapping[str, Any], now: float) -> bool:
        """Whether an attempt may be made; one that is further away than any wait comes from a clock that was wrong."""
        if entry["id"] not in self.waiting:
            return False
        return not 0 < self.waiting[entry["id"]][1] - now <= _LONGEST_WAIT


class Outbox:
    """What is still to be told, in one file. A receiver that is new in it is told what happens from `expect` on.

    Args:
        path: the file, for this alone; without it, or damaged, every receiver is new.
        targets: all receivers; one that is not among them any more is forgotten.
        send: posts once and returns why it was not taken, '' where it was.
        clock: for the limit of a call.

    Raises:
        RolloutError: input_invalid, where two receivers have the same name.
    """

    def __init__(self, path: Path, targets: Sequence[Target], send: Send = post, clock: Clock = _CLOCK) -> None:
        self._path = path
        self._targets = {target.name: target for target in targets}
        self._send = send
        self._clock = clock
        if len(self._targets) != len(targets):
            raise _invalid("a receiver", "its name must be its own")

    def deliver(self, history: Sequence[Mapping[str, Any]], now: float, host: str) -> list[str]:
        """Post what is due; what does not fit into the time of a call, or fails, waits for a later one.

        Args:
            history: oldest first; the last HISTORY entries count.
            now: seconds since 1970.
            host: name of this one.

        Returns:
            A line for each attempt that failed. The last of ATTEMPTS says that it is given up.

        Raises:
            OSError: the file cannot be written. Nothing is posted then that is not written down.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with alone(self._path.with_suffix(".lock"), wait=False) as held:
            return self._deliver(history[-HISTORY:], now, host) if held else []

    def expect(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Take note of what a receiver that is new has missed: it is told what happens from now on."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with alone(self._path.with_suffix(".lock"), wait=False) as held:
            if held:
                self._save(self._load(history[-HISTORY:]))

    def _deliver(self, recent: Sequence[Mapping[str, Any]], now: float, host: str) -> list[str]:
        lines: list[str] = []
        boxes = self._load(recent)
        latest = self._clock.monotonic() + _TOGETHER - _REQUEST  # Each request that begins has all of its time.
        for name, box in sorted(boxes.items(), key=lambda item: item[1].failed):
            for entry in recent:
                if not box.due(entry, now) or self._clock.monotonic() > latest:
                    continue
                reason = self._attempt(boxes, name, entry, now, host)
                if reason:
                    lines.append(self._failed(box, name, entry, reason))
                    break  # It is away: the rest waits.
        self._save(boxes)
        return lines

    def _attempt(self, boxes: Mapping[str, _Box], name: str, entry: Mapping[str, Any], now: float, host: str) -> str:
        """Make one attempt and return why it failed, '' where it did not."""
        box, target = boxes[name], self._targets[name]
        made = box.waiting[entry["id"]][0]
        if made >= ATTEMPTS:
            return "the agent was killed in the last attempt"
        wait = min(_LONGEST_WAIT, _FIRST_WAIT * _WAIT_FACTOR**made)
        box.waiting[entry["id"]] = (made + 1, now + wait)
        self._save(boxes)
        reason = self._send(target, *render(target, entry, host), _REQUEST)
        if not reason:
            del box.waiting[entry["id"]]
        return reason

    @staticmethod
    def _failed(box: _Box, name: str, entry: Mapping[str, Any], reason: str) -> str:
        """Return what to say of an attempt that failed; give up after the last."""
        made = box.waiting[entry["id"]][0]
        said = f"cannot tell {name} of {entry['id']} ({entry['service']} {entry['outcome']}): {reason}"
        if made < ATTEMPTS:
            return f"{said}; attempt {made} of {ATTEMPTS}"
        del box.waiting[entry["id"]]
        return f"{said}; given up after {ATTEMPTS} attempts, check its url and token in rollout_agent_notifications"

    def _load(self, recent: Sequence[Mapping[str, Any]]) -> dict[str, _Box]:
        """Return the box of every receiver, with what is new in it."""
        newest: Mapping[str, Any] = recent[-1] if recent else {"id": "", "at": ""}
        try:
            stored = json.loads(self._path.read_text())
            boxes = {name: _Box(**stored[name]) for name in self._targets if name in stored}
        except (FileNotFoundError, ValueError, TypeError):
            boxes = {}
        for name, target in self._targets.items():
            box = boxes.setdefault(name, _Box(newest["id"], newest["at"], {}))
            box.look(target, recent)
        return boxes

    def _save(self, boxes: Mapping[str, _Box]) -> None:
        content = json.dumps({name: dataclasses.asdict(box) for name, box in boxes.items()}, sort_keys=True).encode()
        if not self._path.exists() or self._path.read_bytes() != content:
            write_atomic(self._path, content, 0o600)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leave a redirect as the error that it then is."""

    def redirect_request(
        self,
        req: urllib.request.Request,  # noqa: ARG002 - the signature is urllib's
        fp: IO[bytes],  # noqa: ARG002
        code: int,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        headers: Message,  # noqa: ARG002
        newurl: str,  # noqa: ARG002
    ) -> urllib.request.Request | None:
        return None


def _is_address(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        return False
    return named and parts.scheme in ("https", "http") and bool(re.fullmatch(r"[!-~]+", url))


def _reason(error: Exception) -> str:
    """Return in words of our own why a request failed: those of an exception may hold the address."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed ({cause.reason})"
    if isinstance(cause, socket.gaierror):
        return "its name is not known"
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno)
    return type(cause).__name__


def _header(text: str) -> str:
    """Return text as a header may carry it."""
    return re.sub(r"[^ -~]", "?", text)


def _invalid(name: str, why: str) -> RolloutError:
    return RolloutError("input_invalid", f"{name} cannot be told of rollouts: {why}; see rollout_agent_notifications")
