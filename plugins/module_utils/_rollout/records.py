# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions about what is recorded: which release is live, where a rollback goes, what is refused."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from . import nginx, registry
from .clock import timestamp
from .docker import Docker
from .intent import Intent
from .registry import RegistryFiles
from .release import Reference, Release, RolloutError, hash_parts
from .state import SWITCH, Goal, Record
from .store import Store


class Records:
    """The records of a project's services."""

    def __init__(self, docker: Docker, store: Store) -> None:
        self.docker = docker
        self.store = store

    def known(self, service: str) -> Record:
        """Return the record of a service; RolloutError service_unknown where there is none."""
        record = self.store.record(service)
        if record is None:
            raise RolloutError(
                "service_unknown",
                f"nothing is recorded of a service {service} below {self.store.root}; deploy it first",
                {"service": service},
            )
        return record

    def current(self, intent: Intent) -> Record:
        """Return the record, made from what runs where there is none."""
        record = self.store.record(intent.service)
        if record is None:
            record = self.adopted(intent)
            self.store.save(record)
        return record

    def stricter(self, record: Record, intent: Intent) -> Record:
        """Return the record with the key that images must be signed with from now on, whatever becomes of this run."""
        if not intent.signature_key or record.intent.signature_key == intent.signature_key:
            return record
        record = replace(record, intent=replace(record.intent, signature_key=intent.signature_key))
        self.store.save(record)
        return record

    def status(self) -> dict[str, dict[str, str | None]]:
        """Return per service its slot, its live release, where a rollback goes, and the stage of a rollout."""
        for damage in self.store.damaged().values():
            raise RolloutError("state_invalid", damage)
        return {
            record.intent.service: {
                "slot": record.live,
                "live": record.live_release.id if record.live_release else None,
                "previous": previous.id if previous else None,
                "rollout": record.rollout.stage if record.rollout else None,
            }
            for record in self.store.records()
            for previous in (self.previous(record),)
        }

    def adopted(self, intent: Intent) -> Record:
        """Return a record of what runs where the file was lost: nobody must lose traffic because of that."""
        kept = [release for release in self.store.kept(intent.service).values() if release]
        containers = self.docker.containers() if kept and self.docker.installed() else []
        for slot in intent.slots:
            for release in kept:
                asked = self.store.kept_intent(intent.service, release.id) or intent
                record = Record(asked, live=slot, slots={slot: release}, good=(release,))
                found = [one for one in containers if intent.owns(one.service, slot) and one.release == release]
                written = nginx.render_upstream(intent.service, record.servers(slot))
                live = intent.strategy != "blue_green" or self.store.upstream(intent.service) == written
                if found and live:
                    return record
        return Record(intent)

    def release(self, intent: Intent, image: str, contents: Mapping[str, bytes]) -> Release:
        """Return the release that an image makes with this configuration."""
        addresses = {slot: list(servers) for slot, servers in intent.slot_addresses.items()}
        return Release(image, hash_parts(contents, self.store.key()), addresses)

    @staticmethod
    def digest(record: Record, intent: Intent, files: RegistryFiles) -> str:
        """Return the digest that is wanted; RolloutError where the registry has to be asked and does not tell."""
        live = record.live_release
        if not intent.update and live is not None and record.intent.image == intent.image:
            return live.digest
        return registry.resolve(Reference.parse(intent.image), files)

    @staticmethod
    def live_of(record: Record) -> Release:
        """Return the live release; RolloutError nothing_live where there is none."""
        live = record.live_release
        if live is None:
            raise RolloutError(
                "nothing_live", f"no release of {record.intent.service} is live yet; deploy it first", {}
            )
        return live

    @staticmethod
    def unsoaked(record: Record) -> bool:
        """Whether a rollout has the traffic already and the release before it is still there to go back to."""
        rollout = record.rollout
        moved = rollout is not None and (rollout.kind, rollout.stage, rollout.failure) == ("rollout", SWITCH, None)
        return moved and record.slots.get(record.idle) in record.good

    def previous(self, record: Record) -> Release | None:
        """Return the last good release that is kept, is not live and was not left for a reason."""
        service = record.intent.service
        kept, bad = self.store.kept(service), self.store.quarantine()
        for release in record.good:
            if release != record.live_release and kept.get(release.id) and f"{service}/{release.id}" not in bad:
                return release
        return None

    def rollback_target(self, record: Record) -> Release:
        """Return where a rollback goes; RolloutError nothing_to_roll_back_to where there is nowhere."""
        target = self.previous(record)
        if target is None:
            raise RolloutError(
                "nothing_to_roll_back_to",
                f"no good release of {record.intent.service} before the live one is kept on this host; "
                "deploy an older image instead",
                {"service": record.intent.service},
            )
        return target

    def changed_keys(self, intent: Intent, before: Release | None, contents: Mapping[str, bytes]) -> list[str]:
        """Return the names, never values, of environment variables that differ."""
        if not intent.env_file or before is None or not contents:
            return []
        old = self.store.kept_file(intent.service, before.id, f"{intent.service}.env") or b""
        pairs = [
            dict(line.partition(b"=")[::2] for line in text.splitlines()) for text in (old, contents[intent.env_file])
        ]
        names = {name for name in {*pairs[0], *pairs[1]} if pairs[0].get(name) != pairs[1].get(name)}
        return sorted(name.decode(errors="replace") for name in names if name and not name.startswith(b"#"))

    def refuse_quarantined(self, intent: Intent, wanted: Release) -> None:
        """Raise RolloutError quarantined for a release that failed before, unless it is forced."""
        entry = self.store.quarantine().get(f"{intent.service}/{wanted.id}")
        if entry is None or intent.force:
            return
        raise RolloutError(
            "quarantined",
            f"{wanted.image} with this configuration failed on {entry['at']} ({entry['code']}: {entry['message']}); "
            "push another image, change the configuration, or force it",
            {"service": intent.service, "image": wanted.image, **entry},
        )

    def quarantine(self, service: str, release: Release, error: RolloutError) -> None:
        """Refuse a release from now on."""
        why = {"code": error.code, "message": error.message, "at": timestamp(), "image": release.image}
        self.store.set_quarantine({**self.store.quarantine(), f"{service}/{release.id}": why})

    def pardon(self, key: str) -> int:
        """Refuse a release, `service/id`, or with '' all of them no longer; return how many."""
        entries = self.store.quarantine()
        if key and key not in entries:
            known = ", ".join(sorted(entries)) or "nothing"
            raise RolloutError("input_invalid", f"{key} is not in quarantine; {known} is")
        kept = {name: entry for name, entry in entries.items() if key and name != key}
        self.store.set_quarantine(kept)
        return len(entries) - len(kept)

    def lift(self, service: str, release: Release) -> None:
        """Refuse a release no longer that is live, if it was refused."""
        key = f"{service}/{release.id}"
        if key in self.store.quarantine():
            self.pardon(key)

    def note(self, record: Record, goal: Goal, outcome: str, message: str, failure: str | None = None) -> None:
        """Write a line of the history that is not about a rollout that began and ended."""
        now, before = timestamp(), record.live_release
        self.store.log(
            {
                "id": f"{now}-{os.urandom(4).hex()}",
                "at": now,
                "started_at": now,
                "service": record.intent.service,
                "kind": goal.kind,
                "actor": goal.actor,
                "reference": goal.reference,
                "before": before.as_dict() if before else None,
                "after": goal.release.as_dict(),
                "slot": record.live or "",
                "outcome": outcome,
                "failure": failure,
                "message": message,
                "seconds": {},
            }
        )
