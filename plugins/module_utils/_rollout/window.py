# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows: a systemd calendar expression names minutes, and in each of them the window is open."""

from __future__ import annotations

import subprocess
from datetime import datetime

from .release import RolloutError

_TIMEOUT = 10.0  # Seconds.
_MINUTE = 60.0


def open_at(expression: str, now: float) -> bool:
    """Whether a calendar expression names the minute of `now` (seconds since 1970), in the host's time zone.

    `Mon..Fri *-*-* 09..16:*` is open on working days from 9:00 until 16:59.

    Raises:
        RolloutError: window_invalid, with systemd's own words.
    """
    minute = now - now % _MINUTE
    # The first time after the second before: exactly the minute itself where it is named.
    base = datetime.fromtimestamp(minute - 1).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    done = _analyze("--iterations=1", f"--base-time={base}", expression)
    if done.returncode != 0:
        raise RolloutError(
            "window_invalid",
            f"{expression!r} is no calendar expression of systemd: {(done.stderr or done.stdout).strip()}; "
            "try it with 'systemd-analyze calendar'",
            {"window": expression},
        )
    stamps = (line.partition(":")[2].strip() for line in done.stdout.splitlines() if "Next elapse:" in line)
    wanted = datetime.fromtimestamp(minute).strftime("%Y-%m-%d %H:%M")
    return any(wanted in stamp for stamp in stamps)


def _analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # pylint: disable=ansible-bad-function
            ["systemd-analyze", "calendar", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RolloutError(
            "window_invalid",
            f"cannot ask systemd-analyze when a window is open: {error}; repair systemd, or use no window",
        ) from error
