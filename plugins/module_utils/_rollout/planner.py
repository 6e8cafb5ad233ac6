# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The next step towards a goal, from what is seen now. Pure and total: no I/O, no clock, no memory of its own.

A rollout goes through stages that the record keeps. Until SWITCH the live slot is not touched, so a crash before it is
undone (REJECT); after it the new slot has traffic, so a crash is gone on from: to the end, or back (REVERT).

    at rest (pull, keep, begin)
       -> PREPARE (test, migrate, start, gate)      a failure -> REJECT (remove the new slot) -> at rest
       -> SWITCH (switch, reload, drain, soak)      a failure -> REVERT (switch back, drain, remove) -> at rest
                                                      the old one does not start -> SWITCH again, to stay
       -> at rest
"""

from __future__ import annotations

from .release import RolloutError
from .state import PREPARE, REVERT, SWITCH, Action, Goal, Observation

PROVE_TIMEOUT = 15.0  # Seconds for a reloaded Nginx to answer from the slot it was switched to.


def plan(goal: Goal | None, seen: Observation, now: float) -> Action:
    """Return the next action.

    Args:
        goal: what this run is for; None only ends what an earlier run has begun.
        seen: what the service looks like.
        now: seconds of the monotonic clock, the same that `seen` was counted by.
    """
    if not seen.projected:
        return Action("environment")
    rollout = seen.record.rollout
    if rollout is None:
        return _at_rest(goal, seen, now)
    if rollout.stage == PREPARE:
        return _prepare(seen, now)
    if rollout.stage == SWITCH:
        return _switch(goal, seen, now)
    if rollout.stage == REVERT:
        return _revert(seen, now)
    return _clear(seen, now, "rejected")


def _at_rest(goal: Goal | None, seen: Observation, now: float) -> Action:
    record, memory = seen.record, seen.memory
    if memory.failure is not None:
        return Action("give_up", record.live or "", failure=memory.failure)
    if goal is None or memory.outcome:
        prunes = seen.surplus and memory.outcome and not memory.pruned
        return Action("prune") if prunes else Action("done", record.live or "")
    if record.live is None:
        return _begin(seen, now)
    if not seen.switched:  # Somebody else wrote the file; who reads it next must read the truth.
        if seen.running(record.live):
            return Action("switch", record.live)
    elif _proxied(seen) and not memory.current and _hopeful(seen, now):
        return Action("wait", record.live, "prove") if memory.loaded else Action("reload", record.live)
    if goal.kind == "restart" or record.live_release != goal.release:
        return _begin(seen, now)
    return _keep_live(seen, now)


def _begin(seen: Observation, now: float) -> Action:
    """Begin a rollout once its place is free of what an earlier one left there."""
    idle = seen.record.idle
    if not seen.pulled:
        return Action("pull")
    if not seen.kept:
        return Action("keep")
    if seen.record.intent.slotted and seen.of(idle):
        return _clear_slot(idle, seen, now)
    return Action("begin", idle)


def _keep_live(seen: Observation, now: float) -> Action:
    """The right release is live already: see that it serves, and that nothing else is there."""
    record, live = seen.record, seen.record.live or ""
    if not seen.complete(live) and seen.memory.started != live:
        # What somebody else put there may serve: it is replaced as a release is, not stopped under its clients.
        foreign = any(one.serving and one.release != record.live_release for one in seen.of(live))
        return _begin(seen, now) if foreign and record.intent.slotted else Action("start", live)
    if seen.memory.gate.dead or seen.memory.gate.late(record.intent, now):
        return Action("give_up", live, failure=_unhealthy(seen, live))
    if seen.memory.gate.successes == 0:
        return Action("wait", live, "gate")
    if record.intent.slotted and seen.of(record.idle):
        return _clear_slot(record.idle, seen, now)
    if record.live_release not in record.good:
        return Action("finish", live, "live")
    return Action("done", live)


def _prepare(seen: Observation, now: float) -> Action:
    record, memory, rollout = seen.record, seen.memory, seen.rollout
    slot, release = rollout.slot, record.slots[rollout.slot]
    if record.intent.slotted and memory.begun != rollout.id:
        # An earlier run was killed before the switch. Nobody uses the slot: what is there is taken away.
        return _clear(seen, now, "abandoned")
    if memory.failure is not None:
        return Action("fail", slot, failure=memory.failure)
    if record.intent.strategy == "handover" and not memory.tested:
        return Action("test", slot)
    if record.intent.migrate and release.digest not in record.migrated:
        return Action("migrate", slot)
    in_place = rollout.kind == "restart" and not record.intent.slotted
    if memory.started != slot and (in_place or not seen.complete(slot)):
        return Action("start", slot)
    if memory.gate.dead or memory.gate.late(record.intent, now):
        return Action("fail", slot, failure=_unhealthy(seen, slot))
    if not memory.gate.passed(record.intent, now):
        return Action("wait", slot, "gate")
    return Action("commit", slot) if record.intent.slotted else Action("finish", slot, "live")


def _switch(goal: Goal | None, seen: Observation, now: float) -> Action:
    """The record names the new slot as live. See to it that it is true, and watch it while the old one is warm."""
    record, memory, rollout = seen.record, seen.memory, seen.rollout
    slot, old = rollout.slot, record.idle
    if rollout.failure is not None:
        return _stay(seen)
    if memory.failure is not None and memory.errors is None and seen.switched and _soaked(seen, now):
        return Action("finish", slot, "live")  # Only to take the old one away did not work: whoever comes next does.
    failure = _against(goal, seen, now)
    if failure is not None:
        back = record.slots.get(old) in record.good
        return Action("fail", slot, failure=failure) if back else Action("finish", slot, "failed", failure)
    if memory.gate.first_answer is None:  # This run did not start it; after a power cut it may be starting still.
        waits = seen.complete(slot) or memory.started == slot
        return Action("wait", slot, "gate") if waits else Action("start", slot)
    if not seen.switched:
        return Action("switch", slot)
    if _proxied(seen):
        if not memory.loaded:
            return Action("reload", slot)
        if memory.proven_at is None:
            return Action("wait", slot, "prove")
        if _draining(seen, now):
            return Action("wait", slot, "drain")
    if seen.of(old):
        return Action("remove", old) if _soaked(seen, now) else Action("wait", slot, "soak")
    return Action("finish", slot, "live")


def _against(goal: Goal | None, seen: Observation, now: float) -> RolloutError | None:
    """Return what ends the new release although it has the traffic, None where nothing does."""
    memory, rollout, intent = seen.memory, seen.rollout, seen.record.intent
    if memory.failure or memory.errors:
        return memory.failure or memory.errors
    answered = memory.gate.first_answer is not None
    if memory.gate.dead or (answered and not seen.serving(rollout.slot)):
        return _unhealthy(seen, rollout.slot)
    if not answered and memory.gate.late(intent, now):
        return _unhealthy(seen, rollout.slot)
    if memory.proven_at is not None and now - memory.proven_at > intent.drain_timeout + intent.soak + intent.timeout:
        return _unhealthy(seen, rollout.slot)  # Docker never called it healthy.
    if goal is not None and goal.kind == "rollback" and rollout.kind != "rollback":
        return RolloutError("rolled_back", f"a person asked for {goal.release.id} before the soak was over")
    if memory.loaded and memory.proven_at is None and now - memory.loaded_at > PROVE_TIMEOUT and _proxied(seen):
        return RolloutError(
            "not_proven",
            f"{PROVE_TIMEOUT:.0f} s after its reload Nginx does not answer from slot {rollout.slot}; see its error log",
        )
    return None


def _soaked(seen: Observation, now: float) -> bool:
    """Whether the new release was watched long enough and Docker, too, calls it healthy."""
    memory, rollout = seen.memory, seen.rollout
    since = memory.proven_at if _proxied(seen) else memory.gate.first_answer
    enough = since is not None and now - since >= seen.record.intent.soak
    return enough and memory.gate.successes > 0 and all(one.serving for one in seen.of(rollout.slot))


def _stay(seen: Observation) -> Action:
    """Stay with a release that failed: the one before it cannot be brought back, and this one runs."""
    slot, memory = seen.rollout.slot, seen.memory
    if memory.failure is None and not seen.switched:
        return Action("switch", slot)
    if memory.failure is None and _proxied(seen) and not memory.loaded:
        return Action("reload", slot)
    return Action("finish", slot, "failed")


def _revert(seen: Observation, now: float) -> Action:
    """The record names the old slot as live again. It is warm; only after a crash may it have to be started."""
    record, memory, live = seen.record, seen.memory, seen.record.live or ""
    if memory.failure is None and not seen.complete(live) and memory.started != live:
        return Action("start", live)
    hopeless = memory.failure is not None or bool(memory.gate.dead) or memory.gate.late(record.intent, now)
    more = seen.running(seen.rollout.slot) > seen.running(live)
    if hopeless and record.intent.slotted and more and not seen.complete(live):
        return Action("commit", seen.rollout.slot)
    if not hopeless and not (seen.serving(live) if record.intent.slotted else memory.gate.successes):
        return Action("wait", live, "gate")
    if record.intent.slotted and memory.failure is None:
        if not seen.switched:
            return Action("switch", live)
        if _proxied(seen) and not memory.current and _hopeful(seen, now):
            return Action("wait", live, "prove") if memory.loaded else Action("reload", live)
        return _clear(seen, now, "rolled_back")
    return Action("finish", live, "failed" if hopeless else "rolled_back")


def _clear(seen: Observation, now: float, outcome: str) -> Action:
    """Remove the new slot of a rollout that failed, once nobody uses it, and end the rollout."""
    rollout = seen.rollout
    if seen.memory.failure is None and seen.record.intent.slotted and seen.of(rollout.slot):
        if rollout.stage == REVERT:
            return _clear_slot(rollout.slot, seen, now)
        return Action("remove", rollout.slot)  # It never had traffic.
    return Action("finish", rollout.slot, outcome)


def _clear_slot(slot: str, seen: Observation, now: float) -> Action:
    """Remove a slot that Nginx may still use: only after every worker that may know it is gone."""
    memory = seen.memory
    if _proxied(seen):
        if not memory.loaded:
            return Action("reload", seen.record.live or "")
        if _draining(seen, now):
            return Action("wait", slot, "drain")
    return Action("remove", slot)


def _proxied(seen: Observation) -> bool:
    """Whether Nginx runs and has to be told of a switch."""
    return seen.proxied and seen.record.intent.strategy == "blue_green"


def _hopeful(seen: Observation, now: float) -> bool:
    """Whether a reload may still bring Nginx to the live slot."""
    return not seen.memory.loaded or now - seen.memory.loaded_at <= PROVE_TIMEOUT


def _draining(seen: Observation, now: float) -> bool:
    """Whether a worker from before the reload may still use the other slot. Nginx itself ends them in time."""
    return seen.memory.lingering > 0 and now - seen.memory.loaded_at <= seen.record.intent.drain_timeout


def _unhealthy(seen: Observation, slot: str) -> RolloutError:
    """Return what the gate has against a slot; the engine adds the container's last words."""
    gate, release, service = seen.memory.gate, seen.record.slots.get(slot), seen.record.intent.service
    image = release.image if release else ""
    if gate.dead:
        what = f"failed: {gate.dead}"
    else:
        what = f"is not healthy after {seen.record.intent.timeout:.0f} s: {gate.last or 'it is not there any more'}"
    return RolloutError(
        "unhealthy",
        f"the new container of {service} ({image}) {what}",
        {"service": service, "slot": slot, "image": image},
    )
