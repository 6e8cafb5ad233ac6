# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Something else happens during a rollout: the playbook, a rollback, a full disk, a clock that jumps."""

from __future__ import annotations

import pytest

from tests.faults.conftest import UnderLoad
from tests.faults.site import Site, sure_of

pytestmark = pytest.mark.fault("meanwhile")
STATE = "/opt/billing/state"
_CLOCK = "/tmp/faults-clock"


def test_the_playbook_runs_during_a_rollout(site: Site, under_load: UnderLoad) -> None:
    with under_load("playbook during a rollout") as case:
        running = site.start(site.push(), intent={"soak": 10.0})
        running.wait_for("start")
        site.playbooks.run("deploy_compose.yml").ok()
        assert "ok" in running.wait()
        case.wanted = site.good
        site.one_release(site.digest(site.good))


@pytest.mark.parametrize("phase", ["start", "soak"])
def test_a_rollback_during_a_rollout(site: Site, under_load: UnderLoad, phase: str) -> None:
    with under_load("rollback during a rollout") as case:
        running = site.start(site.push(), intent=sure_of(phase))
        running.wait_for(phase)
        back = site.drive.run("rollback")
        assert "ok" in running.wait()
        assert "ok" in back, back
        assert site.live_image() == case.before


def test_a_rollback_after_a_rollout_that_was_killed_in_its_soak(site: Site, under_load: UnderLoad) -> None:
    with under_load("rollback during a rollout") as case:
        assert site.apply(site.push(), kill=["after", "soak"], intent=sure_of("soak")).get("killed")
        back = site.drive.run("rollback")
        assert "ok" in back, back
        assert site.live_image() == case.before


def test_the_disk_is_full(site: Site, under_load: UnderLoad) -> None:
    """The state is put on a disk of its own for that: to fill the host's would fill this machine's."""
    with under_load("disk full") as case:
        case.wanted = site.push()
        site.remote.sh(
            f"cp -a {STATE} /tmp/state && mount -t tmpfs -o size=256k,mode=0700 tmpfs {STATE} && "
            f"cp -a /tmp/state/. {STATE} && rm -r /tmp/state"
        )
        try:
            site.remote.sh(f"dd if=/dev/zero of={STATE}/filler bs=1k", check=False)
            done = site.apply(case.wanted)
            assert done.get("failure", {}).get("code") == "disk_full", done
            assert site.live_image() == case.before
            site.remote.sh(f"rm {STATE}/filler")
            site.succeed(case.wanted)
        finally:
            site.remote.sh(
                f"rm -f {STATE}/filler; cp -a {STATE} /tmp/state && umount {STATE} && cp -a /tmp/state/. {STATE} && "
                "rm -r /tmp/state"
            )


@pytest.mark.parametrize("jump", ["-2d", "+2d"])
@pytest.mark.parametrize("action", ["gate", "soak"])
def test_the_clock_jumps(site: Site, under_load: UnderLoad, action: str, jump: str) -> None:
    """The engine's clock, by libfaketime: the lab's hosts may not set their own."""
    site.tool("faketime")
    library = site.remote.sh("ls /usr/lib/*/faketime/libfaketime.so.1").strip()
    site.remote.sh(f"echo +0 > {_CLOCK}")
    environment = {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": _CLOCK, "FAKETIME_NO_CACHE": "1"}
    with under_load("clock jumps during a rollout") as case:
        case.wanted = site.push()
        # The monotonic clock is the one that does not jump.
        before = {**environment, "DONT_FAKE_MONOTONIC": "1"}
        running = site.start(case.wanted, before=before, intent=sure_of(action))
        running.wait_for(action)
        site.remote.sh(f"echo {jump} > {_CLOCK}")
        done = running.wait()
        assert "ok" in done, done
