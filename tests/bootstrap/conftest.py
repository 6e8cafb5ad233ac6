# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The bootstrap program on a root of its own, with stand-ins for the commands that it runs."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from billing_bootstrap.host import Paths
from billing_bootstrap.program import main


def make_bundle(*names: str) -> bytes:
    """Return an archive with empty files of these names."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in names or ("ansible_collections/billing/infrastructure/galaxy.yml",):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return buffer.getvalue()


@dataclass
class Machine:
    """A root folder, a configuration, and commands that are shell scripts in a folder that is first on PATH."""

    root: Path
    config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.paths = Paths(str(self.root))
        self.bin = self.root / "bin"
        self.bin.mkdir(parents=True)
        (self.root / "dev").mkdir()
        self.paths.console.touch()
        self.paths.fstab.parent.mkdir(parents=True)
        self.config = {
            "hostname": "billing-api1",
            "generation": "1",
            "bundle": {},
            "secrets": {"source": "generated", "path": None, "required": []},
            "data_volume": None,
            "playbook": "billing.infrastructure.deploy_compose",
            "packages": ["ansible-core"],
            "status_url": None,
            "region": None,
        }
        self.publish(make_bundle())
        self.command("dpkg", "exit 0")
        self.command("dpkg-query", "echo installed ansible-core")
        self.command("ansible-playbook", "echo 'billing-api1 : ok=9    changed=4    unreachable=0    failed=0'")

    def command(self, name: str, script: str) -> None:
        """Put a stand-in on PATH; how it is called is kept in ROOT/calls."""
        path = self.bin / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.root}/calls\n{script}\n')
        path.chmod(0o755)

    def publish(self, content: bytes, sha256: str = "") -> None:
        """Offer a bundle; with a checksum that is not its own where one is given."""
        file = self.root / "published.tar.gz"
        file.write_bytes(content)
        self.config["bundle"] = {"url": file.as_uri(), "sha256": sha256 or hashlib.sha256(content).hexdigest()}

    @property
    def calls(self) -> list[str]:
        """The commands so far."""
        file = self.root / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def run(self) -> dict[str, Any]:
        """Run the program once; return its status, with the exit code as `code`."""
        self.paths.config.parent.mkdir(parents=True, exist_ok=True)
        self.paths.config.write_text(json.dumps(self.config))
        self.paths.variables.write_text("{}")
        code = main(self.paths)
        return {**json.loads(self.paths.status.read_text()), "code": code}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine on which everything goes well."""
    made = Machine(tmp_path)
    monkeypatch.setenv("PATH", f"{made.bin}{os.pathsep}{os.environ['PATH']}")
    return made
