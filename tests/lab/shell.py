# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Run commands and say what is being done: one line per step, with the seconds it took."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager


class LabError(Exception):
    """Something the person at the keyboard can act on: what happened, to what, and what to do."""


def run(
    argv: Sequence[str],
    *,
    input_text: str | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    timeout: float = 600,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it printed.

    Raises:
        LabError: the command is missing, took longer than ``timeout`` seconds, or failed while ``check`` is set.
    """
    try:
        # Without input the command gets none of ours: what runs from a script must not eat its standard input
        done = subprocess.run(
            argv,
            input=input_text,
            stdin=subprocess.DEVNULL if input_text is None else None,
            env=env,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{' '.join(argv)}` took longer than {timeout:.0f} s") from error
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-3000:]
        raise LabError(f"`{' '.join(argv)}` failed ({done.returncode}):\n{said}")
    return done


def say(text: str) -> None:
    """Print one line of progress at once, also into a pipe."""
    print(text, file=sys.stderr, flush=True)


class Step:
    """What a step says of itself; the body may change it, for example to "unchanged"."""

    def __init__(self, text: str) -> None:
        self.text = text


@contextmanager
def step(text: str) -> Iterator[Step]:
    """Time a block of work and print one line when it ends."""
    started = time.monotonic()
    current = Step(text)
    try:
        yield current
    except BaseException:
        say(f"{time.monotonic() - started:7.1f} s  {current.text}: FAILED")
        raise
    say(f"{time.monotonic() - started:7.1f} s  {current.text}")
