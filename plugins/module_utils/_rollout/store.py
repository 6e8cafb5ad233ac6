# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files the engine owns below the project root: a crash leaves the old or the new content, never half."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .intent import Intent
from .release import Release, RolloutError
from .state import Record

_QUARANTINE = "quarantine.json"
_RELEASE, _INTENT = "release.json", "intent.json"
_HISTORY_BYTES, _HISTORY_ENTRIES = 2 << 20, 1000  # A longer history is cut to its last entries.
_QUARANTINE_ENTRIES = 500  # The newest ones: a tag does not go back further.
_HEADER = "# Owned by billing.infrastructure: what runs in every slot. Do not edit; use the playbooks.\n"


def write_atomic(path: Path, content: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Replace a file: temporary file in the same directory, fsync, rename, fsync of the directory.

    The directory is locked meanwhile: whoever else writes into it like this waits.

    Args:
        path: the file.
        content: all of it.
        mode: permission bits.
        owner: user id and group id; by default who runs this.
    """
    temporary = path.with_name(f".{path.name}.new")
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
        try:
            os.fchmod(descriptor, mode)
            if owner is not None:
                os.fchown(descriptor, *owner)
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        os.fsync(directory)
    finally:
        os.close(directory)


def sync_directory(path: Path) -> None:
    """Make what was done to the names in a directory survive a power cut."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextlib.contextmanager
def alone(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a file of its own; say whether it is held. The kernel lets go of it when a process dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        held = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            held = False
        yield held
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")


def _ends_with_newline(path: Path) -> bool:
    content = path.read_bytes()
    return not content or content.endswith(b"\n")


class Store:
    """The project's files: state/, releases/, the projection release.env, the upstream files, and the lock."""

    def __init__(self, root: Path, run_directory: Path) -> None:
        self.root = root
        self._state = root / "state"
        self._run_directory = run_directory

    # -- the record of a service, and what Compose reads of all of them

    def record(self, service: str) -> Record | None:
        """Return what is recorded of a service, None before its first rollout."""
        path = self._state / f"{service}.json"
        try:
            return Record.restored(json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise RolloutError(
                "state_invalid",
                f"{path} is not what the engine wrote ({type(error).__name__}: {error}); restore it from a backup, or "
                "move it away and run the playbook, which takes over what runs",
                {"path": str(path)},
            ) from error

    def save(self, record: Record) -> None:
        """Replace the record of a service."""
        self._write_state(f"{record.intent.service}.json", json.dumps(record.stored(), indent=1, sort_keys=True))

    def services(self) -> list[str]:
        """Return the names of all services that something is recorded of."""
        return sorted(path.stem for path in self._state.glob("*.json") if path.name != _QUARANTINE)

    def records(self) -> list[Record]:
        """Return the records of all services, in the order of their names; one that is damaged is left out."""
        return self._examined()[0]

    def damaged(self) -> dict[str, str]:
        """Return by service what is wrong with each record that cannot be read, and what to do."""
        return self._examined()[1]

    def _examined(self) -> tuple[list[Record], dict[str, str]]:
        records: list[Record] = []
        damages: dict[str, str] = {}
        for name in self.services():
            try:
                records += filter(None, [self.record(name)])
            except RolloutError as error:  # noqa: PERF203 - of one service; the others are read all the same
                damages[name] = error.message
        return records, damages

    def projection(self, project: str) -> str:
        """Return what release.env must say: image, files and configuration of every slot, and Compose's settings.

        Of a service whose record is damaged it goes on saying what it says.
        """
        values = {"COMPOSE_PROJECT_NAME": project, "COMPOSE_IGNORE_ORPHANS": "1"}
        files = ["compose.yaml"]
        records = {record.intent.service: record for record in self.records()}
        for service in self.services():
            record = records.get(service)
            if record is None:
                values |= self._projected_of(service)
                files += [name for name in self.compose_files() if name.startswith(f"releases/{service}/")]
                continue
            for slot, release in sorted(record.slots.items()):
                prefix = _variable("_".join(filter(None, (service, slot))))
                folder = f"releases/{service}/{release.id}"
                values[f"{prefix}_IMAGE"] = release.image
                values[f"{prefix}_CONFIG_HASH"] = release.config_hash
                values[f"{prefix}_RELEASE"] = folder
                files.append(f"{folder}/{slot or service}.yaml")
        values["COMPOSE_FILE"] = ":".join(files)
        return _HEADER + "".join(f"{name}={values[name]}\n" for name in sorted(values))

    def projected(self, project: str) -> bool:
        """Whether release.env says what the records say."""
        return _read(self.root / "release.env") == self.projection(project).encode()

    def _projected_of(self, service: str) -> dict[str, str]:
        """Return what release.env says of a service now."""
        names = rf"{_variable(service)}(_BLUE|_GREEN)?_(IMAGE|CONFIG_HASH|RELEASE)"
        lines = (_read(self.root / "release.env") or b"").decode().splitlines()
        pairs = (line.partition("=")[::2] for line in lines)
        return {name: value for name, value in pairs if re.fullmatch(names, name)}

    def compose_files(self) -> list[str]:
        """Return the Compose files that release.env names, relative to the root."""
        lines = (_read(self.root / "release.env") or b"").decode().splitlines()
        return next((line.partition("=")[2].split(":") for line in lines if line.startswith("COMPOSE_FILE=")), [])

    def project(self, project: str) -> None:
        """Write release.env."""
        write_atomic(self.root / "release.env", self.projection(project).encode(), 0o600)

    # -- releases

    def contents(self, intent: Intent) -> dict[str, bytes]:
        """Return the files that make up the configuration of a release, by the path that the role gives them.

        A file that is still to come, in check mode, counts as empty.
        """
        paths = [*map(intent.fragment, intent.slots), intent.env_file, *intent.secret_files, *intent.config_files]
        return {path: _read(self.root / path) or b"" for path in paths if path}

    def key(self) -> bytes:
        """Return this project's key for configuration hashes; empty before the first release."""
        return _read(self._state / "hash.key") or b""

    def prepare(self) -> None:
        """Create what the engine needs before it can name a release."""
        self._state.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.key():
            write_atomic(self._state / "hash.key", os.urandom(32), 0o600)

    def keep(self, intent: Intent, release: Release, contents: Mapping[str, bytes]) -> None:
        """Keep the files of a release: fragments, environment, secrets. release.json comes last and means complete."""
        folder = self._folder(intent.service, release.id)
        if (folder / _RELEASE).exists():
            return
        (folder / "secrets").mkdir(mode=0o700, parents=True, exist_ok=True)
        for slot in intent.slots:
            write_atomic(folder / f"{slot or intent.service}.yaml", contents[intent.fragment(slot)], 0o600)
        if intent.env_file:
            write_atomic(folder / f"{intent.service}.env", contents[intent.env_file], 0o600)
        for path in intent.secret_files:
            owner = (self.root / path).stat()
            target = folder / "secrets" / Path(path).name
            write_atomic(target, contents[path], owner.st_mode & 0o777, (owner.st_uid, owner.st_gid))
        self.keep_intent(intent, release)
        write_atomic(folder / _RELEASE, json.dumps(asdict(release), sort_keys=True).encode(), 0o600)

    def keep_intent(self, intent: Intent, release: Release) -> None:
        """Keep with a release what it was asked for with: its files are named there, and a rollback restores it."""
        folder = self._folder(intent.service, release.id)
        path, text = folder / _INTENT, json.dumps(intent.stored(), sort_keys=True)
        if folder.is_dir() and _read(path) != text.encode():
            write_atomic(path, text.encode(), 0o600)

    def kept_intent(self, service: str, release_id: str) -> Intent | None:
        """Return what a release was asked for with, None where that was not kept."""
        content = self.kept_file(service, release_id, _INTENT)
        return Intent.restored(json.loads(content)) if content else None

    def kept(self, service: str) -> dict[str, Release | None]:
        """Return what lies in releases/ of a service by id, None for one that a crash left incomplete."""
        found: dict[str, Release | None] = {}
        for folder in sorted((self.root / "releases" / service).glob("*")):
            content = _read(folder / _RELEASE)
            found[folder.name] = Release(**json.loads(content)) if content else None
        return found

    def kept_contents(self, intent: Intent, release_id: str) -> dict[str, bytes]:
        """Return the files that are kept with a release, by the path that the role gives them."""
        folder = self._folder(intent.service, release_id)
        names = {intent.fragment(slot): folder / f"{slot or intent.service}.yaml" for slot in intent.slots}
        names |= {path: folder / "secrets" / Path(path).name for path in intent.secret_files}
        if intent.env_file:
            names[intent.env_file] = folder / f"{intent.service}.env"
        missing = [str(file) for file in names.values() if not file.is_file()]
        if missing:
            raise RolloutError(
                "state_invalid",
                f"of the files that are kept with {intent.service} {release_id}, {', '.join(missing)} is not there; "
                "run the playbook, which writes them anew",
                {"missing": missing},
            )
        return {path: file.read_bytes() for path, file in names.items()}

    def kept_file(self, service: str, release_id: str, name: str) -> bytes | None:
        """Return a file that is kept with a release, None where there is none."""
        return _read(self._folder(service, release_id) / name)

    def forget(self, service: str, release_id: str) -> None:
        """Remove the files of a release; first the mark that they are complete, which a crash must not leave alone."""
        folder = self._folder(service, release_id)
        (folder / _RELEASE).unlink(missing_ok=True)
        sync_directory(folder)
        shutil.rmtree(folder)

    def _folder(self, service: str, release_id: str) -> Path:
        return self.root / "releases" / service / release_id

    # -- the switch

    def upstream(self, service: str) -> bytes | None:
        """Return what Nginx reads about a service, None where there is no file."""
        return _read(self._upstream(service))

    def switch(self, service: str, content: bytes) -> None:
        """Replace what Nginx reads about a service; it counts with the next reload."""
        path = self._upstream(service)
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomic(path, content, 0o644)

    def _upstream(self, service: str) -> Path:
        return self.root / "nginx" / "upstreams" / f"{service}.conf"

    # -- history and quarantine

    def log(self, entry: Mapping[str, Any]) -> None:
        """Append one line to the history, once per `id`: a crash between this and the record repeats it."""
        path = self._state / "history.jsonl"
        with alone(self._state / ".history.lock"):
            if any(line["id"] == entry["id"] for line in self.history(5)):
                return
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                # A line that a crash cut off must not swallow this one.
                start = b"" if _ends_with_newline(path) else b"\n"
                os.write(descriptor, start + json.dumps(entry, sort_keys=True).encode() + b"\n")
                os.fsync(descriptor)
                full = os.fstat(descriptor).st_size > _HISTORY_BYTES
            finally:
                os.close(descriptor)
            if full:
                lines = path.read_bytes().splitlines(keepends=True)[-_HISTORY_ENTRIES:]
                write_atomic(path, b"".join(lines), 0o600)

    def history(self, count: int) -> list[dict[str, Any]]:
        """Return the last entries of the history, oldest first; a line that a crash cut off is left out."""
        entries = []
        for line in (_read(self._state / "history.jsonl") or b"").splitlines()[-count:]:
            with contextlib.suppress(ValueError):
                entries.append(json.loads(line))
        return entries

    def quarantine(self) -> dict[str, dict[str, Any]]:
        """Return the releases that failed: `service/id` -> code, message, when."""
        path = self._state / _QUARANTINE
        try:
            found: dict[str, dict[str, Any]] = json.loads(_read(path) or b"{}")
        except ValueError as error:
            raise RolloutError(
                "state_invalid",
                f"{path} is not what the engine wrote ({error}); restore it from a backup, or move it away: every "
                "release that failed then has another chance",
                {"path": str(path)},
            ) from error
        return found

    def set_quarantine(self, entries: Mapping[str, Any]) -> None:
        """Replace the list of releases that failed."""
        newest = sorted(entries, key=lambda key: entries[key]["at"])[-_QUARANTINE_ENTRIES:]
        self._write_state(_QUARANTINE, json.dumps({key: entries[key] for key in newest}, indent=1, sort_keys=True))

    def _write_state(self, name: str, text: str) -> None:
        write_atomic(self._state / name, f"{text}\n".encode(), 0o600)

    @contextlib.contextmanager
    def locked(self, timeout: float) -> Iterator[int]:
        """Hold the project's lock; the kernel releases it when its last holder dies.

        Yields its file descriptor: a command that inherits it holds the lock too, until it ends.

        Raises:
            RolloutError: busy, when somebody else holds it for longer than `timeout` seconds.
        """
        self._run_directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        path = self._run_directory / "lock"
        with path.open("a+") as handle:
            deadline = time.monotonic() + timeout
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise RolloutError(
                            "busy",
                            f"another rollout holds {path} for more than {timeout:.0f} s; wait for it, or see who with "
                            f"'fuser -v {path}'",
                        ) from None
                    time.sleep(0.2)
            yield handle.fileno()
