# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The README's own inventory and commands, word for word, on a fresh server.

Two things stand in for what a reader has and a test has not: SSH leads the README's address to a lab host, and
host variables name the lab's registry in place of the public ones. Part of `make integration`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.docs.readme import ROOT, commands, files

LAB = "readme"
HOST = "billing-api1"


@dataclass(frozen=True)
class Reader:
    """A folder with what the README says to write, and the surroundings to run its commands in."""

    folder: Path
    env: dict[str, str]

    def run(self, line: str) -> str:
        done = subprocess.run(  # noqa: S602 (as a reader would paste it)
            line,
            shell=True,
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=900,
        )
        print(done.stdout)
        assert done.returncode == 0, f"{line}:\n{done.stdout[-5000:]}"
        return done.stdout


def changes(output: str) -> int:
    """Return how many tasks changed the server, from the recap of a run that went well."""
    recap = re.search(rf"^{HOST}\s+: ok=\d+\s+changed=(\d+)\s+unreachable=0\s+failed=0\s", output, re.MULTILINE)
    assert recap, output[-3000:]
    return int(recap[1])


def lab(*arguments: str) -> None:
    """Call the lab's command line."""
    subprocess.run([sys.executable, "-m", "tests.lab", "--name", LAB, *arguments], cwd=ROOT, check=True)


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    """Start a lab with one bare host; remove it at the end."""
    lab("down")  # What a killed run left.
    lab("up")
    lab("host", "add", HOST)
    yield ROOT / "build" / "lab" / LAB
    lab("down")


@pytest.fixture(scope="module")
def reader(server: Path, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    folder = tmp_path_factory.mktemp("reader")
    for name, text in files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    written = yaml.safe_load((folder / "inventory" / "hosts.yml").read_text())["billing"]["hosts"]
    assert list(written) == [HOST]
    overrides = folder / "inventory" / "host_vars"
    overrides.mkdir()
    (overrides / f"{HOST}.yml").write_text((server / "inventory" / "group_vars" / "billing.yml").read_text())
    address = (server / "ssh" / "known_hosts").read_text().split()[0].split(",")[0]
    config = folder / "ssh_config"
    config.write_text(
        f"Host {written[HOST]['ansible_host']}\n"
        f"  HostName {address}\n"
        f"  HostKeyAlias {address}\n"
        f"  IdentityFile {server / 'ssh' / 'id_ed25519'}\n"
        f"  UserKnownHostsFile {server / 'ssh' / 'known_hosts'}\n"
        "  StrictHostKeyChecking yes\n"
    )
    (folder / "ansible.cfg").write_text("")
    env = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")} | {
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_SSH_COMMON_ARGS": f"-F {config}",
        "REGISTRY_PASSWORD": json.dumps("not used: the lab's registry has its own"),
    }
    return Reader(folder, env)


def test_the_commands_of_the_readme_deploy_a_server(reader: Reader) -> None:
    check, deploy, status = commands("server")
    assert changes(reader.run(check)) > 0, "the check of a bare server predicts changes"
    assert changes(reader.run(deploy)) > 0
    table = reader.run(status)
    for service in ("api-blue-1", "nginx-blue", "postgres"):
        assert re.search(rf"{service}\s+sha256:\w+\s+running\s+healthy", table)
    assert changes(reader.run(deploy)) == 0, "the second run changes nothing"
