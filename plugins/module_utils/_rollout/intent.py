# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a role asks for: which image a service shall run, and by what rules it is replaced."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .release import SLOTS, RolloutError

STRATEGIES = ("blue_green", "handover", "recreate")


@dataclass(frozen=True)
class Gate:
    """One check that a new container must pass; exactly one of the three is given.

    Attributes:
        http: path that must answer with a status below 400 at the container's own address.
        tcp: the port must accept a connection.
        exec: a command in the container that must end with 0.
    """

    http: str = ""
    tcp: bool = False
    exec: tuple[str, ...] = ()

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Gate:
        """Build a gate from a role's dictionary; raise RolloutError input_invalid where it is none."""
        known = {"http", "tcp", "exec"}
        if len(values) != 1 or not known.issuperset(values) or not all(values.values()):
            raise RolloutError(
                "input_invalid",
                f"a gate is one of {{http: /path}}, {{tcp: true}} or {{exec: [command, argument]}}, not {dict(values)}",
            )
        command = values.get("exec", ())
        return cls(
            http=str(values.get("http", "")),
            tcp=bool(values.get("tcp")),
            exec=(command,) if isinstance(command, str) else tuple(map(str, command)),
        )


@dataclass(frozen=True)
class Intent:
    """What shall run, and how it gets there.

    Attributes:
        service: name of the service and of its Compose fragments, `compose.d/<service>[.<slot>].yaml`.
        image: reference to follow.
        strategy: `blue_green`, `handover` or `recreate`.
        slot_addresses: for `blue_green`, the `address:port` of every replica of each slot.
        env_file: source of the release's environment; kept with the release, '' for none.
        secret_files: files kept with the release like the environment; a rollback restores them.
        config_files: further files whose content is part of the release but which are not kept with it.
        migrate: run `<service>-<slot>-migrate` before a digest starts for the first time.
        gates: what a new container must pass. Without any, Docker must call it healthy; with some, it may not call it
            unhealthy before the switch, and must call it healthy before the old one goes.
        successes: how often in a row all gates must hold.
        stable: seconds that they must have held.
        timeout: seconds for the gate, and again for the migration and for the wait for another rollout.
        drain_timeout: seconds for old Nginx workers to finish; longer than Nginx's worker_shutdown_timeout.
        soak: seconds that the old release stays warm after the switch, while the new one is watched.
        soak_errors: how much larger the share of 5xx answers (0 to 1) may be than the old release's.
        keep: how many good releases are kept, the live one and the one before it always.
        force: roll out a quarantined release too.
        update: ask the registry what the image is now; otherwise the live digest stays while the image keeps its name.
        signature_key: path of the public key (PEM) that an image must be signed with, '' for any image.
    """

    service: str
    image: str
    strategy: str
    slot_addresses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    env_file: str = ""
    secret_files: tuple[str, ...] = ()
    config_files: tuple[str, ...] = ()
    migrate: bool = False
    gates: tuple[Gate, ...] = ()
    successes: int = 3
    stable: float = 0.0
    timeout: float = 120.0
    drain_timeout: float = 90.0
    soak: float = 10.0
    soak_errors: float = 0.02
    keep: int = 3
    force: bool = False
    update: bool = True
    signature_key: str = ""

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise RolloutError("input_invalid", f"strategy {self.strategy!r} is none of {', '.join(STRATEGIES)}")
        sizes = {len(self.slot_addresses.get(slot, [])) for slot in SLOTS}
        if self.strategy == "blue_green" and (len(sizes) != 1 or 0 in sizes):
            raise RolloutError(
                "input_invalid",
                f"slot_addresses of {self.service} must give both blue and green, with the same number of addresses",
            )
        if self.keep < 2:
            raise RolloutError("input_invalid", f"keep of {self.service} is {self.keep}; a rollback needs at least 2")
        if self.signature_key and not self.signature_key.startswith("/"):
            raise RolloutError("input_invalid", f"signature_key {self.signature_key!r} is not an absolute path")

    @property
    def slotted(self) -> bool:
        """Whether two copies may run beside each other."""
        return self.strategy != "recreate"

    @property
    def slots(self) -> tuple[str, ...]:
        """The places where the service may run; '' is the only one of a service without slots."""
        return SLOTS if self.slotted else ("",)

    def fragment(self, slot: str) -> str:
        """Path of a slot's Compose fragment as its role renders it, relative to the root."""
        return f"compose.d/{self.service}.{slot}.yaml" if slot else f"compose.d/{self.service}.yaml"

    def owns(self, service: str, slot: str | None = None) -> bool:
        """Whether a Compose service belongs to this service, or to one slot of it, also with more replicas than now."""
        if not self.slotted:
            return service == self.service
        slots = SLOTS if slot is None else (slot,)
        return any(re.fullmatch(rf"{re.escape(self.service)}-{name}(-\d+)?", service) for name in slots)

    def stored(self) -> dict[str, Any]:
        """Return the intent as JSON can hold it; `force` was for that one time."""
        return dataclasses.asdict(dataclasses.replace(self, force=False))

    @classmethod
    def restored(cls, values: Mapping[str, Any]) -> Intent:
        """Read what `stored` returned."""
        gates = tuple(Gate(gate["http"], gate["tcp"], tuple(gate["exec"])) for gate in values["gates"])
        lists = {name: tuple(values[name]) for name in ("secret_files", "config_files")}
        return cls(**{**values, **lists, "gates": gates})
