# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a running release is replaced: two slots beside each other, or one container in its place."""

from __future__ import annotations

from collections.abc import Sequence

from . import nginx
from .release import Intent, Release, RolloutError, other_slot
from .steps import Steps, Timeline
from .store import write_atomic


def settle(steps: Steps, intent: Intent, clock: Timeline) -> None:
    """Finish a switch that an earlier run began and did not end: only then is one slot known to be free of traffic.

    The slot that was to be live is preferred, because it passed its gate; the other one is taken where that one died.
    """
    live = steps.store.read().get(intent.live_variable, "")
    if not live or not unsettled(steps, intent):
        return
    for slot in (live, other_slot(live)):
        containers = steps.containers(intent, slot)
        there = [container.service for container in containers]
        servers = [
            address for service, address in zip(intent.services(slot), intent.slot_addresses[slot]) if service in there
        ]
        try:
            steps.wait(there, intent.timeout, containers)
        except RolloutError as error:
            steps.progress(f"{intent.service}: slot {slot} cannot take over an unfinished switch: {error.message}")
            continue
        if servers:
            steps.progress(f"{intent.service}: finish an unfinished switch to slot {slot}")
            _switch(steps, intent, slot, servers)
            _finish(steps, intent, slot, clock)
            return
    steps.change({}, forget=(intent.switching_variable,))  # Neither slot serves: there is no traffic to keep.


def unsettled(steps: Steps, intent: Intent) -> bool:
    """Whether Nginx may still send traffic to the slot that is not live."""
    if intent.strategy != "blue_green":
        return False
    values = steps.store.read()
    idle = other_slot(values.get(intent.live_variable, ""))
    named = any(f"server {address} " in steps.switched_to(intent) for address in intent.slot_addresses[idle])
    return intent.switching_variable in values or (intent.live_variable in values and named)


def roll(steps: Steps, intent: Intent, live: str, after: Release, clock: Timeline) -> str:
    """Start a new release in the idle slot, move the traffic, end the old slot; return the new live slot."""
    idle = other_slot(live)
    steps.remove(intent, idle)
    steps.assign(intent, idle, after)
    try:
        if intent.strategy == "handover":
            with clock.phase("test"):
                steps.once(intent, intent.services(idle)[0], "nginx_invalid", "nginx", "-t", "-q", "-c", nginx.CONFIG)
        if intent.migrate:
            with clock.phase("migrate"):
                steps.once(intent, f"{intent.service}-migrate", "migration_failed")
        steps.start(intent, idle, clock)
        with clock.phase("switch"):
            _switch(steps, intent, idle, intent.slot_addresses.get(idle, []))
    except RolloutError:
        steps.remove(intent, idle)
        raise
    _finish(steps, intent, idle, clock)
    return idle


def restore(steps: Steps, intent: Intent, live: str, release: Release, clock: Timeline) -> None:
    """Bring the live release back where it is incomplete: containers, switch, or something left of the other slot."""
    steps.assign(intent, live, release)
    steps.start(intent, live, clock)
    _switch(steps, intent, live, intent.slot_addresses.get(live, []))
    _finish(steps, intent, live, clock)


def recreate(steps: Steps, intent: Intent, before: Release | None, after: Release, clock: Timeline) -> None:
    """Replace the container in its place; when the new one fails, put the release before it back, fragment included."""
    previous = (f"{intent.prefix}_PREVIOUS_IMAGE", f"{intent.prefix}_PREVIOUS_CONFIG_HASH")
    fragment = steps.store.root / "compose.d" / f"{intent.service}.yaml"
    if before and before != after:
        # Kept until the new one serves: a run that is killed before does not forget what was good.
        steps.change(dict(zip(previous, (before.image, before.config_hash))))
    steps.assign(intent, "", after)
    try:
        steps.start(intent, "", clock)
    except RolloutError as error:
        kept = steps.store.kept(before.id, fragment.name) if before and before != after else None
        if before is None or kept is None:
            raise
        steps.progress(f"{intent.service}: {error.code}; putting {before.id} back")
        with clock.phase("rollback"):
            write_atomic(fragment, kept, 0o600)
            steps.assign(intent, "", before)
            steps.start(intent, "", Timeline())
            steps.change({}, forget=previous)
        raise
    steps.store.keep(after.id, fragment.name, fragment.read_bytes())
    steps.change({}, forget=previous)


def _switch(steps: Steps, intent: Intent, slot: str, servers: Sequence[str]) -> None:
    """Name the slot as live and, for a service behind Nginx, write the upstream file; undo both when Nginx refuses it.

    From here on the traffic may go to either slot, until `_finish` ends it: release.env says so in the same write.
    """
    if intent.strategy != "blue_green":
        steps.change({intent.live_variable: slot})
        return
    live = steps.store.read().get(intent.live_variable, "")
    old = steps.switched_to(intent)
    steps.change({intent.live_variable: slot, intent.switching_variable: "1"})
    path = steps.upstream(intent)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_atomic(path, nginx.render_upstream(intent.service, servers).encode(), 0o644)
    try:
        for container in steps.proxies():
            nginx.test_config(steps.docker, container)
    except RolloutError:
        write_atomic(path, old.encode(), 0o644)
        undo = {intent.live_variable: live} if live else {}
        steps.change(undo, forget=(intent.switching_variable, *(() if live else (intent.live_variable,))))
        raise


def _finish(steps: Steps, intent: Intent, slot: str, clock: Timeline) -> None:
    """Let everybody use the new slot, then end the other one."""
    with clock.phase("drain"):
        if intent.strategy == "blue_green":
            steps.reload(intent)
        steps.remove(intent, other_slot(slot))
        if intent.strategy == "blue_green":
            steps.change({}, forget=(intent.switching_variable,))
