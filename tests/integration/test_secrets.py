# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Secrets are in their files and nowhere else: given ones, generated ones, the registry's; as they are and encoded."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.runs import ROOT, TALKATIVE, Run, ansible_environment, bin_of
from tests.integration.stack import Stack

# path -> owner, mode. Nothing else on the server may hold a secret.
SECRET_FILES = {
    "/srv/billing/secrets/postgres_password": (999, "0400"),
    "/srv/billing/secrets/postgres_migration_password": (999, "0400"),
    "/srv/billing/secrets/postgres_app_password": (999, "0400"),
    "/opt/billing/secrets/api_database_url": (10001, "0400"),
    "/opt/billing/secrets/api_migration_database_url": (10001, "0400"),
    "/opt/billing/secrets/api_payment_key": (10001, "0400"),
    "/root/.docker/config.json": (0, "0600"),
}
# The entrypoint of the official image of PostgreSQL exports the superuser's password that it read from its file. Only
# root and the database's own user can read it there.
ENVIRONMENTS = {"environ of postgres, user 999"}
SECRET_DIRECTORIES = ["/srv/billing/secrets", "/opt/billing/secrets", "/root/.docker"]


def secret_files(stack: Stack) -> dict[str, tuple[int, str]]:
    """Every file that may hold a secret, with its owner and mode; the kept releases have the secrets they run with."""
    kept = stack.server.sh("ls /opt/billing/releases/api/*/secrets/*").split()
    assert kept
    return SECRET_FILES | dict.fromkeys(kept, (10001, "0400"))


# Reads every file of the server that a deployment may have written, binary ones too, and what Docker and the journal
# say. Standard input: {"name": "secret", ...}. Prints [place, name of the secret] pairs and the number of places read.
_SEARCH = r"""
import json, os, stat, subprocess, sys
needles = {name: value.encode() for name, value in json.loads(NEEDLES).items()}
left_out = ("/proc", "/sys", "/dev", "/usr", "/var/lib/docker/overlay2", "/var/lib/docker/image")
hits, places = [], 0

def look(place, content):
    global places
    places += 1
    hits.extend([place, name] for name, needle in needles.items() if needle in content)

for folder, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(folder, name) not in left_out]
    for name in files:
        path = os.path.join(folder, name)
        try:
            if stat.S_ISREG(os.lstat(path).st_mode):
                with open(path, "rb") as file:
                    look(path, file.read())
        except OSError:
            pass

for pid in filter(str.isdigit, os.listdir("/proc")):
    for name in ("cmdline", "environ"):
        try:
            with open(f"/proc/{pid}/comm") as comm, open(f"/proc/{pid}/{name}", "rb") as file:
                look(f"{name} of {comm.read().strip()}, user {os.stat(file.fileno()).st_uid}", file.read())
        except OSError:
            pass

def words(*argv):
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True).stdout

containers = words("docker", "ps", "-aq").decode().split()
images = sorted(set(words("docker", "images", "-aq").decode().split()))
assert containers and images
for one in containers:
    look(f"docker inspect {one}", words("docker", "inspect", one))
    look(f"docker logs {one}", words("docker", "logs", one))
    look(f"docker top {one}", words("docker", "top", one, "-eo", "pid,args"))
for one in images:
    look(f"docker image inspect {one}", words("docker", "image", "inspect", one))
    look(f"docker history {one}", words("docker", "history", "--no-trunc", one))
for output in ("json", "cat"):
    look(f"journal as {output}", words("journalctl", "--all", "--no-pager", "--output", output))
print(json.dumps({"hits": hits, "places": places}))
"""


def found_in(secrets: dict[str, str], texts: Iterable[str]) -> list[str]:
    """Return the names of the secrets that are in one of the texts."""
    joined = "\n".join(texts)
    return [name for name, value in secrets.items() if value in joined]


@pytest.fixture(scope="module")
def secrets(deployed: Stack) -> dict[str, str]:
    """Every secret of the deployment. The database roles use what was given, so the deployment works with them."""
    found = deployed.secrets()
    assert len(found) > 12
    assert all(len(value) > 12 for value in found.values())
    return found


def test_planted_secrets_are_in_use(deployed: Stack, secrets: dict[str, str]) -> None:
    assert secrets["/srv/billing/secrets/postgres_app_password"] == deployed.planted["postgres_app_password"]
    assert secrets["/opt/billing/secrets/api_payment_key"] == deployed.planted["payment_key"]
    assert secrets["postgres_app_password, quoted"] in secrets["/opt/billing/secrets/api_database_url"]


def test_verbose_output_with_diff_shows_no_secret(first_run: Run, secrets: dict[str, str]) -> None:
    # Talkative it was: the arguments of the modules are there
    assert "module_args" in first_run.output
    assert found_in(secrets, [first_run.output]) == []
    assert found_in(secrets, [json.dumps(event, default=str) for event in first_run.events]) == []


def test_output_of_check_mode_shows_no_secret(deployed: Stack, secrets: dict[str, str]) -> None:
    changed = {"api_secrets": {"payment_key": f"other-{deployed.planted['payment_key']}"}}
    run = deployed.playbooks.run("deploy_compose.yml", "-vvv", "--check", "--diff", variables=changed, env=TALKATIVE)
    assert run.ok().changed
    assert found_in(secrets, [run.output]) == []


def test_no_command_line_showed_a_secret(deployed: Stack, first_run: Run, secrets: dict[str, str]) -> None:
    assert first_run.returncode == 0
    seen = deployed.command_lines
    # The watch saw what it should: the playbook here, Docker there
    assert any("deploy_compose.yml" in line for line in seen["controller"])
    assert any("docker" in line for line in seen["host"])
    assert found_in(secrets, seen["controller"]) == []
    assert found_in(secrets, seen["host"]) == []


def test_server_keeps_secrets_in_their_files_only(deployed: Stack, secrets: dict[str, str]) -> None:
    source = _SEARCH.replace("NEEDLES", repr(json.dumps(secrets)))
    found: dict[str, Any] = json.loads(deployed.server.python(source))
    assert found["places"] > 500
    places = {place for place, _secret in found["hits"]}
    assert places - ENVIRONMENTS == set(secret_files(deployed))
    exported = {secret.removesuffix(", quoted") for place, secret in found["hits"] if place in ENVIRONMENTS}
    assert exported <= {"/srv/billing/secrets/postgres_password"}


def test_secret_files_have_the_narrowest_owner_and_mode(deployed: Stack) -> None:
    expected = secret_files(deployed)
    lines = deployed.server.sh(f"stat -c '%n %u 0%a' {' '.join(expected)}").splitlines()
    assert {line.split()[0]: (int(line.split()[1]), line.split()[2]) for line in lines} == expected
    directories = [*SECRET_DIRECTORIES, *deployed.server.sh("ls -d /opt/billing/releases/api/*/secrets").split()]
    folders = deployed.server.sh(f"stat -c '%u %a' {' '.join(directories)}").splitlines()
    assert folders == ["0 700"] * len(directories)


def test_repository_and_tarball_hold_no_secret(secrets: dict[str, str], tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tracked = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    assert tracked
    assert found_in(secrets, (path.read_text(errors="replace") for path in tracked)) == []
    build = [str(bin_of("current") / "ansible-galaxy"), "collection", "build", "--output-path", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, env=ansible_environment(), capture_output=True, check=True)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        files = [archive.extractfile(member) for member in archive if member.isfile()]
        assert found_in(secrets, (file.read().decode(errors="replace") for file in files if file)) == []


def test_terraform_state_holds_no_secret(deployed: Stack, secrets: dict[str, str]) -> None:
    if deployed.terraform_problem:
        pytest.skip(deployed.terraform_problem)
    state = deployed.lab.dir / "terraform.tfstate"
    assert found_in(secrets, [state.read_text()]) == []
