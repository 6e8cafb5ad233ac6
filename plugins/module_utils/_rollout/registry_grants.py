# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a registry was satisfied last time: with it the next question is one request, not three.

A file in memory (below /run) that only root reads. It holds tokens for as long as they are good, never a password, and
losing it costs one challenge.
"""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from .store import write_atomic

_MARGIN = 10.0  # Seconds before its end from which on a token counts as over.


class Grants:
    """The grants in a file, by registry and repository; None for no file and no memory."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def basic(self, key: str) -> bool:
        """Whether the registry wanted name and password."""
        return bool(self._read().get(key, {}).get("scheme") == "basic")

    def token(self, key: str) -> str:
        """Return a token that is still good, '' for none."""
        entry = self._read().get(key, {})
        return str(entry["token"]) if entry.get("until", 0.0) > time.time() else ""

    def remember_basic(self, key: str) -> None:
        """Note that the registry wants name and password."""
        self._remember(key, {"scheme": "basic"})

    def remember_token(self, key: str, token: str, seconds: float) -> None:
        """Keep a token for as long as it is good."""
        self._remember(key, {"scheme": "bearer", "token": token, "until": time.time() + seconds - _MARGIN})

    def _remember(self, key: str, entry: dict[str, Any]) -> None:
        if self._path is None or self._read().get(key) == entry:
            return
        now = time.time()
        kept = {name: one for name, one in self._read().items() if one.get("until", now + 1) > now}
        with contextlib.suppress(OSError):
            write_atomic(self._path, json.dumps({**kept, key: entry}).encode(), 0o600)

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._path.read_text()) if self._path else {}
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) and all(isinstance(one, dict) for one in found.values()) else {}
