# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Every system call that writes state fails with ENOSPC or EIO, or is the last one that the engine does."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from tests.faults.conftest import UnderLoad
from tests.faults.site import QUICK, Site

# How often a rollout calls each on a state file; a test compares it with a real one.
CALLS = {"openat": 15, "write": 13, "fsync": 25, "rename": 12}
FAULTS = {"ENOSPC": "error=ENOSPC", "EIO": "error=EIO", "SIGKILL": "signal=KILL"}
CASES = [(call, fault, number) for call, most in CALLS.items() for number in range(1, most + 1) for fault in FAULTS]
_ROOT = "/opt/billing"
_LOG = "/tmp/faults-strace"
_HISTORY = f"{_ROOT}/state/history.jsonl"
pytestmark = pytest.mark.fault("system calls")


def watched(release: str) -> tuple[list[str], list[str]]:
    """Return the files that a rollout to this release writes, and the folders that it makes them last in."""
    kept = f"{_ROOT}/releases/api/{release}"
    files = [f"{_ROOT}/state/api.json", f"{_ROOT}/release.env", f"{_ROOT}/nginx/upstreams/api.conf"]
    files += [f"{kept}/{name}" for name in ("blue.yaml", "green.yaml", "api.env", "intent.json", "release.json")]
    written = [f"{folder}/.{name}.new" for folder, _slash, name in (file.rpartition("/") for file in files)]
    return [*written, _HISTORY], sorted({file.rpartition("/")[0] for file in files})


def traced(site: Site, image: str, call: str, inject: str = "") -> tuple[dict[str, Any], int]:
    """Run a rollout under strace; return its end, and how often this call was seen on a file of the state."""
    site.tool("strace")
    record = site.state()
    config_hash = record["slots"][record["live"]]["config_hash"]
    files, folders = watched(f"{site.digest(image).partition(':')[2][:12]}-{config_hash[:8]}")
    # Folders are opened to be read, too: that is not among the calls that are counted.
    paths = files if call == "openat" else [*files, *folders]
    options = [word for path in paths for word in ("-P", path)]
    options += ["-e", f"trace={call}", *(["-e", f"inject={call}:{inject}"] if inject else [])]
    command = site.drive.command("apply", image=image, intent={**QUICK})
    done = site.host.ssh(f"strace -o {_LOG} {shlex.join(options)} {command}", check=False, timeout=300)
    lines = site.remote.sh(f"cat {_LOG}").splitlines()
    return site.drive.outcome(done), sum(line.startswith(f"{call}(") for line in lines)


def test_the_cases_are_all_calls_of_a_rollout(site: Site, under_load: UnderLoad) -> None:
    with under_load("no fault") as case:
        seen = {}
        for call in CALLS:
            case.wanted = site.push()
            done, seen[call] = traced(site, case.wanted, call)
            assert "ok" in done, done
    # Reading the history back before a line is added to it may fail as well: it is among the calls of openat.
    assert seen == CALLS


@pytest.mark.parametrize(
    ("call", "fault", "number"), CASES, ids=[f"{call}-{number}-{fault}" for call, fault, number in CASES]
)
def test_a_call_fails(site: Site, under_load: UnderLoad, call: str, fault: str, number: int) -> None:
    with under_load(f"{fault} at a system call on a state file") as case:
        case.wanted = site.push()
        done, seen = traced(site, case.wanted, call, f"{FAULTS[fault]}:when={number}")
        assert seen >= number, f"nothing was injected: {call} was seen {seen} times"
        if fault == "SIGKILL":
            assert done.get("killed"), done
        else:
            assert done.get("failure", {}).get("code") in {"disk_full", "io_failed"}, done
        site.wait_answers(1)
