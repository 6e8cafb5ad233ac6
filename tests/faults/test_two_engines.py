# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Two engines at once, and the one at work is killed at a random moment: never two at work, never a stale lock."""

from __future__ import annotations

import json
import random
import time
from itertools import pairwise

import pytest

from tests.faults.conftest import UnderLoad
from tests.faults.site import Running, Site

GROUPS, ROUNDS = 25, 4
# Ends the process that holds the lock: /proc/locks names it, beside the inode of the file.
_KILL_HOLDER = """
import os, signal
inode = str(os.stat("/run/billing/lock").st_ino)
held = [line.split() for line in open("/proc/locks") if "->" not in line]
holders = [words[4] for words in held if words[1] == "FLOCK" and words[5].endswith(f":{inode}")]
for pid in holders:
    os.kill(int(pid), signal.SIGKILL)
print(len(holders))
"""


def one_after_the_other(engines: list[Running]) -> bool:
    """Whether one engine had done its last action before the other began its first."""
    first, second = sorted((engine.actions for engine in engines if engine.actions), key=lambda done: done[0].at)
    return first[-1].at <= second[0].at


@pytest.mark.fault("two engines")
@pytest.mark.parametrize("group", range(GROUPS))
def test_two_engines_are_never_at_work_together(site: Site, under_load: UnderLoad, group: int) -> None:
    killed = 0
    # Only what this test adds: in an earlier one the clock jumps.
    past = len(site.remote.sh("cat /opt/billing/state/history.jsonl").splitlines())
    with under_load("two engines at once, the one at work killed at random") as case:
        for number in range(ROUNDS):
            chance = random.Random(group * ROUNDS + number)  # noqa: S311 - chosen by chance, the same in every run
            images = [site.push(), site.push()]
            engines = [site.start(image, intent={"soak": 0.0}) for image in images]
            time.sleep(chance.uniform(0.5, 5))
            killed += int(site.remote.python(_KILL_HOLDER))
            ends = [engine.wait() for engine in engines]
            assert any("ok" in end for end in ends), ends
            assert all("failure" not in end for end in ends), ends
            if all(engine.actions for engine in engines):
                assert one_after_the_other(engines), [engine.actions for engine in engines]
            assert site.remote.run("flock", "-w", "5", "/run/billing/lock", "true", check=False).returncode == 0
            case.wanted = images[1]
    assert killed > 0
    lines = site.remote.sh("cat /opt/billing/state/history.jsonl").splitlines()[past:]
    ended = [json.loads(line) for line in lines]
    api = sorted((entry["started_at"], entry["at"]) for entry in ended if entry["service"] == "api")
    assert len(api) > ROUNDS
    assert all(before[1] <= after[0] for before, after in pairwise(api)), api
