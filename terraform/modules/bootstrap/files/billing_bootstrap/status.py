# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What the server says of itself: the status file, the journal and the console."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .host import Paths, say, write

_KILLED = "the run before was killed in phase"


class Status:
    """The status file, the journal and the console. `publish` takes the JSON text further."""

    def __init__(self, paths: Paths, config: dict[str, Any], publish: Callable[[str], None]) -> None:
        self._paths, self._publish = paths, publish
        before: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            before = json.loads(paths.status.read_text())
        reason = before.get("reason", "")
        # Who ends in peace, says why
        if before.get("state") != "ready" and before.get("phase") and (not reason or reason.startswith(_KILLED)):
            reason = f"{_KILLED} {before['phase']}: see the journal"
        self.values = {
            "state": before.get("state", "waiting"),
            "phase": "",
            "reason": reason,
            "since": before.get("since", _now()),
            "checked": _now(),
            "bundle": config["bundle"]["sha256"],
            "generation": config["generation"],
            "hostname": config["hostname"],
            "changed": before.get("changed"),
            "seconds": before.get("seconds", {}),
        }

    def tell(self) -> None:
        """Publish, where the server is not ready, how far it is: what was published may be of the server before."""
        if self.values["state"] != "ready":
            self._publish(self._text())

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase. The last good seconds of each one are kept."""
        self.values["phase"] = name
        self._save()
        say(f"{name} ...")
        started = time.monotonic()
        yield
        self.values["seconds"][name] = round(time.monotonic() - started, 1)
        say(f"{name}: {self.values['seconds'][name]} s")

    def ends(self, state: str, reason: str = "") -> None:
        """Tell how the run ended; the console hears of it only where that is news."""
        news = (state, reason) != (self.values["state"], self.values["reason"])
        if state != self.values["state"]:
            self.values["since"] = _now()
        self.values |= {"state": state, "reason": reason}
        line = f"{state} ({self.values['phase']}): {reason}" if reason else state
        if state == "ready":
            self.values["phase"] = ""
        self._save()
        say(line)
        if news:
            tell_console(self._paths.console, f"billing-bootstrap: {self.values['hostname']} is {line}")
        self._publish(self._text())

    def _text(self) -> str:
        return json.dumps(self.values, indent=2) + "\n"

    def _save(self) -> None:
        write(self._paths.status, self._text(), 0o640)


def tell_console(console: Path, text: str) -> None:
    """Write a line to the console where there is one; nothing waits for it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(console, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            os.write(descriptor, f"{text}\r\n".encode())
        finally:
            os.close(descriptor)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
