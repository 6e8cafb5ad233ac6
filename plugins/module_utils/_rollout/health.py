# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates: what must hold before traffic moves, and what ends a release afterwards. Small probes, pure rules."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .intent import Gate, Intent
from .release import Container, Release

PROBE_TIMEOUT = 2.0  # Seconds; as long as the container's own health check may take.
_FEWEST_ERRORS = 3  # One or two errors are an accident, whatever their share.


@dataclass(frozen=True)
class Streak:
    """How a slot's containers have done since they are looked at. Times are seconds of the monotonic clock.

    Attributes:
        since: when the looking began, None before.
        good_since: since when every look found all well, None where the last one did not.
        successes: number of good looks in a row.
        first_answer: when all was well for the first time.
        dead: what no waiting can mend.
        last: what the last bad look saw.
    """

    since: float | None = None
    good_since: float | None = None
    successes: int = 0
    first_answer: float | None = None
    dead: str = ""
    last: str = ""

    def look(self, now: float, bad: str, dead: str = "") -> Streak:
        """Count one look: `bad` and `dead` say what was wrong, '' where nothing was."""
        since = now if self.since is None else self.since
        if bad or dead:
            return replace(self, since=since, good_since=None, successes=0, dead=dead, last=bad or dead)
        return replace(
            self,
            since=since,
            good_since=now if self.good_since is None else self.good_since,
            successes=self.successes + 1,
            first_answer=now if self.first_answer is None else self.first_answer,
            dead="",
            last="",
        )

    def passed(self, intent: Intent, now: float) -> bool:
        """Whether all gates held often enough and long enough."""
        return (
            self.good_since is not None
            and self.successes >= intent.successes
            and now - self.good_since >= intent.stable
        )

    def late(self, intent: Intent, now: float) -> bool:
        """Whether the deadline is over."""
        return self.since is not None and now - self.since > intent.timeout


@dataclass(frozen=True)
class Expected:
    """The containers of a slot that shall serve, and what of theirs is not to be held against them.

    Attributes:
        services: names of the Compose services.
        release: what they run.
        restarts: container id -> restarts that it had before.
    """

    services: Sequence[str]
    release: Release
    restarts: dict[str, int] = field(default_factory=dict)


def examine(containers: Iterable[Container], expected: Expected, trust_probes: bool) -> tuple[str, str]:
    """Return what is wrong with the containers of a slot: what waiting may mend, and what it will not.

    Args:
        containers: what runs in the slot.
        expected: what shall run there.
        trust_probes: gates of their own tell when it is ready, so Docker's slower health check may still be starting.
    """
    found = {one.service: one for one in containers if one.release == expected.release}
    missing = sorted(set(expected.services) - set(found))
    if missing:
        return f"no container of {', '.join(missing)} is there", ""
    for name, one in sorted(found.items()):
        if one.restarts > expected.restarts.get(one.id, 0):
            return "", f"{name} ended and was restarted by Docker"
        if one.state in ("exited", "dead"):
            return "", f"{name} has ended"
        if one.health == "unhealthy":
            return "", f"{name} is unhealthy"
        if not (one.serving or (trust_probes and one.state == "running")):
            return f"{name} is {one.state}{f', {one.health}' if one.health else ''}", ""
    return "", ""


def probe(gate: Gate, address: str) -> str:
    """Try an http or tcp gate at `address:port`; return what is wrong, '' where nothing is."""
    host, _colon, port = address.rpartition(":")
    try:
        if gate.tcp:
            socket.create_connection((host, int(port)), PROBE_TIMEOUT).close()
            return ""
        status, _value = _get(http.client.HTTPConnection(host, int(port), timeout=PROBE_TIMEOUT), gate.http)
    except (OSError, http.client.HTTPException) as error:
        return f"{address}: {type(error).__name__} {error}".rstrip()
    return "" if status < 400 else f"{address}{gate.http} answered {status}"


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.host)


def ask_socket(path: str, request: str, header: str) -> tuple[str, int] | None:
    """GET over a Unix socket; return a header of the answer ('' where there is none) and its status (0 without one).

    None: nobody listens there.
    """
    try:
        status, value = _get(_UnixConnection(path, timeout=PROBE_TIMEOUT), request, header)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except (OSError, http.client.HTTPException):
        return "", 0
    return value, status


def _get(connection: http.client.HTTPConnection, path: str, header: str = "") -> tuple[int, str]:
    try:
        connection.request("GET", path, headers={"Host": "localhost", "Connection": "close"})
        answer = connection.getresponse()
        answer.read(1 << 16)
        return answer.status, answer.headers.get(header, "") if header else ""
    finally:
        connection.close()


@dataclass(frozen=True)
class Tally:
    """Answers and 5xx among them, of the old release and of the new one."""

    old: int = 0
    old_errors: int = 0
    new: int = 0
    new_errors: int = 0

    def add(self, other: Tally) -> Tally:
        """Return the sum."""
        return Tally(
            self.old + other.old,
            self.old_errors + other.old_errors,
            self.new + other.new,
            self.new_errors + other.new_errors,
        )

    def verdict(self, tolerance: float) -> str:
        """Return why the new release is worse than the old one, '' where it is not.

        Args:
            tolerance: how much larger its share of 5xx may be, 0 to 1.
        """
        if self.new_errors < _FEWEST_ERRORS:
            return ""
        share, before = self.new_errors / self.new, self.old_errors / self.old if self.old else 0.0
        if share <= before + tolerance:
            return ""
        return f"{self.new_errors} of {self.new} answers were 5xx ({share:.1%}), of the old release {before:.1%}"


def tally(lines: Iterable[str], sides: Mapping[str, str], other: str = "") -> Tally:
    """Count answers in Nginx's JSON access log by the release that gave them.

    Args:
        lines: of the log; what is no JSON object is another message of Nginx.
        sides: `address:port` of an upstream -> `old` or `new`; of several that were tried, the last one counts.
        other: the side of every other answer, '' to leave it out.
    """
    counts = {"old": 0, "old_errors": 0, "new": 0, "new_errors": 0}
    for line in lines:
        try:
            entry = json.loads(line)
            side = sides.get(str(entry["upstream_addr"]).rpartition(",")[2].strip(), other)
            status = int(entry["status"])
        except (ValueError, KeyError, TypeError):
            continue
        if side:
            counts[side] += 1
            counts[f"{side}_errors"] += status >= 500
    return Tally(**counts)
