# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent knows from one run to the next. Losing it costs one look at each registry, and lifts every hold."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .clock import timestamp
from .store import alone, write_atomic


@dataclass(frozen=True)
class Hold:
    """Why a service is not followed: who said so, when (RFC 3339), and what for."""

    by: str
    at: str
    reason: str

    def as_dict(self) -> dict[str, str]:
        """Return it as JSON can hold it."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Candidate:
    """A digest behind the tag that is not live, and why not.

    Attributes:
        digest: of the image.
        live: id of the release that was live then.
        code: held, quarantined, window, or the code of the failure.
        message: for a person.
        since: RFC 3339.
    """

    digest: str
    live: str
    code: str
    message: str
    since: str

    def as_dict(self) -> dict[str, str]:
        """Return it as JSON can hold it."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Memo:
    """What is remembered of one service.

    Attributes:
        checked_at: when its registry answered last, RFC 3339, None before.
        failures: looks in a row that failed.
        error: code, message and time of the last one, None after one that went well.
        next_check: do not look before, seconds since 1970.
        not_before: the same, and a knock does not count: the registry asked for it.
        candidate: what the tag names and what is not live.
        unhealthy: restarts in a row that did not help.
        next_restart: no further one before, seconds since 1970.
    """

    checked_at: str | None = None
    failures: int = 0
    error: Mapping[str, str] | None = None
    next_check: float = 0.0
    not_before: float = 0.0
    candidate: Candidate | None = None
    unhealthy: int = 0
    next_restart: float = 0.0

    @classmethod
    def restored(cls, values: Mapping[str, Any]) -> Memo:
        """Read what `asdict` returned; TypeError where it is something else."""
        candidate = values["candidate"]
        return cls(**{**values, "candidate": candidate and Candidate(**candidate)})


class AgentState:
    """The folder `state/agent`. The agent writes there, and people's commands do, at the same time, too."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "state" / "agent"
        self._memos = self.folder / "memos.json"
        self._holds = self.folder / "holds.json"
        self._told = self.folder / "journal.json"

    def memo(self, service: str) -> Memo:
        """Return what is remembered of a service; nothing where the file is missing or damaged."""
        try:
            return Memo.restored(_read(self._memos)[service])
        except (KeyError, TypeError):
            return Memo()

    def remember(self, service: str, memo: Memo) -> None:
        """Replace what is remembered of a service."""
        _change(self._memos, service, dataclasses.asdict(memo))

    def journaled(self) -> str | None:
        """Return the id of the last entry of the history that the journal has, None before the first run."""
        found: str | None = _read(self._told).get("last", {}).get("id")
        return found

    def set_journaled(self, entry: str) -> None:
        """Remember which entry of the history the journal has last, '' for none."""
        _change(self._told, "last", {"id": entry})

    def hold(self, service: str) -> Hold | None:
        """Return why a service is not followed, None where it is."""
        found = _read(self._holds).get(service, {}).get("hold")
        return Hold(**found) if found else None

    def resumed_at(self, service: str) -> str:
        """Return when a service was resumed last (RFC 3339): failures before count no more. '' for never."""
        return str(_read(self._holds).get(service, {}).get("resumed_at", ""))

    def set_hold(self, service: str, hold: Hold) -> None:
        """Stop following a service."""
        _change(self._holds, service, {"hold": hold.as_dict(), "resumed_at": self.resumed_at(service)})

    def resume(self, service: str) -> None:
        """Follow a service again."""
        _change(self._holds, service, {"hold": None, "resumed_at": timestamp()})


def _change(path: Path, service: str, entry: Mapping[str, Any]) -> None:
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(mode=0o700, exist_ok=True)
    with alone(path.with_suffix(".lock")):
        entries = _read(path)
        if entries.get(service) != entry:
            entries[service] = entry
            write_atomic(path, f"{json.dumps(entries, indent=1, sort_keys=True)}\n".encode(), 0o600)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
