# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Many rollouts in a row leave nothing behind but what is kept on purpose."""

from __future__ import annotations

import pytest

from tests.faults.conftest import UnderLoad
from tests.faults.site import Site

_KEPT = 3
_RESIDENT = 32 << 10  # KiB that processes may have more than before; a leak of 1 MiB in each of 50 rollouts is more.
_PASSING = "ps|awk|wc|grep|sh|bash|sshd.*|nginx"  # Ours, and workers that Nginx lets finish.
_INTENT = {"soak": 0.5, "keep": _KEPT}
pytestmark = pytest.mark.fault("many rollouts")


def numbers(site: Site) -> dict[str, int]:
    """Count what rollouts could leave behind."""
    count = {
        "containers": "docker ps --all --quiet",
        "images": "docker image ls --all --quiet --no-trunc | sort --unique",
        "layers": "ls /var/lib/docker/overlay2 | grep -v -e '-init$' -e '^l$'",
        "networks": "docker network ls --quiet",
        "volumes": "docker volume ls --quiet",
        "interfaces": "ls /sys/class/net",
        "mounts": "cat /proc/mounts",
        "files of the project": "find /opt/billing /run/billing",
        "files of the engine": 'ls "/proc/$(pidof dockerd)/fd"',
        "processes": f"ps -e -o comm= | grep -Evx '{_PASSING}'",
    }
    # The least of a few: a health check or a timer may be at work in one moment.
    return {
        what: min(int(site.remote.sh(f"{command} | wc -l")) for _look in range(4)) for what, command in count.items()
    }


def resident(site: Site) -> int:
    """Return the KiB in memory of all processes of the host that stay."""
    total = f"ps -e -o rss=,comm= | grep -Ev ' ({_PASSING})$' | awk '{{s += $1}} END {{print s}}'"
    return int(site.remote.sh(total))


@pytest.mark.parametrize("count", [3, 50])
def test_rollouts_leave_nothing_behind(site: Site, under_load: UnderLoad, count: int) -> None:
    with under_load(f"no fault: {count} rollouts in a row") as case:
        for _number in range(_KEPT + 1):  # From here on each one that comes makes one go.
            site.succeed(site.push(), intent=_INTENT)
        before, memory = numbers(site), resident(site)
        for _number in range(count):
            case.wanted = site.push()
            site.succeed(case.wanted, intent=_INTENT)
        after, grown = numbers(site), resident(site) - memory
        kept = site.remote.sh("ls /opt/billing/releases/api").split()
    assert {what: (before[what], after[what]) for what in before if after[what] > before[what]} == {}
    assert len(kept) == _KEPT
    assert grown < _RESIDENT, f"{grown} KiB"
