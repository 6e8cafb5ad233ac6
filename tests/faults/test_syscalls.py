# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Every system call that writes state fails with ENOSPC or EIO, or is the last one that the engine does."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from tests.faults.conftest import UnderLoad
from tests.faults.site import QUICK, Site

# How often a rollout calls each on a state file, at the most; a test compares it with a real one.
CALLS = {"openat": 30, "write": 12, "fsync": 20, "rename": 10}
FAULTS = {"ENOSPC": "error=ENOSPC", "EIO": "error=EIO", "SIGKILL": "signal=KILL"}
CASES = [(call, fault, number) for call, most in CALLS.items() for number in range(1, most + 1) for fault in FAULTS]
_ROOT = "/opt/billing"
_LOG = "/tmp/faults-strace"
# strace compares whole paths, so each is named: the files, what they are written as, and their folders.
_FILES = ("state/api.json", "state/quarantine.json", "release.env", "nginx/upstreams/api.conf")
_PATHS = ("state", "state/history.jsonl", "nginx/upstreams", ".", *_FILES)
pytestmark = pytest.mark.fault("system calls")


def watched() -> list[str]:
    """Return every path that the engine writes state to."""
    new = [f"{folder}.{name}.new" for file in _FILES for folder, name in [_split(file)]]
    return [f"{_ROOT}/{path}".removesuffix("/.") for path in (*_PATHS, *new)]


def _split(file: str) -> tuple[str, str]:
    folder, slash, name = file.rpartition("/")
    return folder + slash, name


def traced(site: Site, image: str, *inject: str) -> dict[str, Any]:
    """Run a rollout under strace, with these injections."""
    site.tool("strace")
    paths = [word for path in watched() for word in ("-P", path)]
    calls = ["-e", f"trace={','.join(CALLS)}", *(word for one in inject for word in ("-e", f"inject={one}"))]
    command = site.drive.command("apply", image=image, intent={**QUICK})
    done = site.host.ssh(f"strace -o {_LOG} {shlex.join([*paths, *calls])} {command}", check=False, timeout=300)
    return site.drive.outcome(done)


def counted(site: Site) -> dict[str, int]:
    """Return how often each call was seen in the last traced rollout."""
    lines = site.remote.sh(f"cat {_LOG}").splitlines()
    return {call: sum(line.startswith(f"{call}(") for line in lines) for call in CALLS}


def test_the_cases_are_all_calls_of_a_rollout(site: Site, under_load: UnderLoad) -> None:
    with under_load("no fault") as case:
        case.wanted = site.push()
        assert "ok" in traced(site, case.wanted)
        found = counted(site)
    assert all(0 < found[call] <= most for call, most in CALLS.items()), found


@pytest.mark.parametrize(
    ("call", "fault", "number"), CASES, ids=[f"{call}-{number}-{fault}" for call, fault, number in CASES]
)
def test_a_call_fails(site: Site, under_load: UnderLoad, call: str, fault: str, number: int) -> None:
    with under_load(f"{fault} at a system call on a state file") as case:
        case.wanted = site.push()
        done = traced(site, case.wanted, f"{call}:{FAULTS[fault]}:when={number}")
        injected = counted(site)[call] >= number
        if not injected:
            pytest.skip(f"this rollout made fewer than {number} calls of {call}")
        if fault == "SIGKILL":
            assert done.get("killed"), done
        else:
            assert done.get("failure", {}).get("code") in {"disk_full", "io_failed"}, done
        site.wait_answers(1)
