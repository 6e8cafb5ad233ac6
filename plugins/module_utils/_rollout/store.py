# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files the engine owns below the project root: a crash leaves the old or the new content, never half."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .release import RolloutError

_HEADER = "# Owned by billing.infrastructure: what runs in every slot. Do not edit; use the playbooks.\n"


def write_atomic(path: Path, content: bytes, mode: int) -> None:
    """Replace a file: temporary file in the same directory, fsync, rename, fsync of the directory."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.fchmod(descriptor, mode)
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class Store:
    """The project's files: release.env, releases/, state/ and the lock."""

    def __init__(self, root: Path, run_directory: Path) -> None:
        self.root = root
        self.environment_file = root / "release.env"
        self._key = root / "state" / "hash.key"
        self._run_directory = run_directory

    def read(self) -> dict[str, str]:
        """Return the variables of release.env; empty before the first release."""
        try:
            lines = self.environment_file.read_text().splitlines()
        except FileNotFoundError:
            return {}
        return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))

    def write(self, values: Mapping[str, str]) -> None:
        """Replace release.env."""
        text = _HEADER + "".join(f"{name}={values[name]}\n" for name in sorted(values))
        write_atomic(self.environment_file, text.encode(), 0o600)

    def fragments(self) -> list[str]:
        """Return the Compose files of the project, relative to its root."""
        return ["compose.yaml", *sorted(f"compose.d/{path.name}" for path in (self.root / "compose.d").glob("*.yaml"))]

    def key(self) -> bytes:
        """Return this project's key for configuration hashes; created with the first release, empty before."""
        return self._key.read_bytes() if self._key.exists() else b""

    def prepare(self) -> None:
        """Create what the engine needs before it can name a release."""
        if not self._key.exists():
            self._key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomic(self._key, os.urandom(32), 0o600)

    def kept(self, release_id: str, name: str) -> bytes | None:
        """Return a file that was kept with a release, None where there is none."""
        path = self.root / "releases" / release_id / name
        return path.read_bytes() if path.exists() else None

    def keep(self, release_id: str, name: str, content: bytes) -> str:
        """Keep a file with a release and return its path relative to the root: a rollback restores it."""
        path = self.root / "releases" / release_id / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(path, content, 0o600)
        return str(path.relative_to(self.root))

    def record(self, entry: Mapping[str, Any]) -> None:
        """Append one line to the history."""
        path = self.root / "state" / "history.jsonl"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        line = json.dumps({"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **entry}, sort_keys=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, f"{line}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

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
