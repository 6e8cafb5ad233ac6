# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Bad input, and a world that fails: one readable error each time, and what ran before still runs."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.runs import CRASHES, Run
from tests.integration.stack import CONTAINERS, SERVER, Stack, image

# Seconds that a release may take to become healthy here: an image that never is, costs all of it.
PATIENCE = {"api_timeout": 15, "nginx_timeout": 20}


@pytest.fixture(autouse=True)
def what_ran_before_still_runs(deployed: Stack, invoice: dict[str, Any]) -> Iterator[None]:
    """After each failed deployment the same release serves, and the failed one left no container behind."""
    digest = deployed.digest_running()
    yield
    assert deployed.client.serves(invoice)
    assert deployed.digest_running() == digest
    assert len(deployed.server.containers()) == CONTAINERS


@pytest.fixture
def converges(deployed: Stack) -> Callable[..., None]:
    """What a test calls when the cause is gone: good input converges, and a second run finds nothing to do."""

    def converge(*may_change: str, only: str = "all") -> None:
        run = deployed.playbooks.run("deploy_compose.yml", f"--tags={only}").ok()
        assert [task for task in run.changed if not any(words in task for words in may_change)] == []

    return converge


def deploy_badly(stack: Stack, only: str = "all", **variables: Any) -> Run:
    """Deploy with this input, all or `only` some roles, and return the run that failed as a user should see it."""
    run = stack.playbooks.run("deploy_compose.yml", f"--tags={only}", variables=PATIENCE | variables)
    run.the_failure()
    print(run.message)
    return run


def test_unknown_tag(deployed: Stack) -> None:
    run = deploy_badly(deployed, only="api", api_image=image("no-such-tag"))
    assert run.failure["code"] == "image_unknown"
    assert f"no image {image('no-such-tag')}; check name and tag" in run.message


def test_wrong_registry_password(deployed: Stack, converges: Callable[..., None]) -> None:
    variables = json.loads((deployed.lab.dir / "inventory" / "group_vars" / "billing.yml").read_text())
    entry = variables["docker_registries"][0] | {"password": "wrong-password"}
    run = deploy_badly(deployed, only="docker,postgres", docker_registries=[entry])
    assert run.failure["code"] == "registry_unauthorized"
    assert "check the user name and password" in run.message
    assert "wrong-password" not in run.output
    converges("Keep the credentials of the registries", only="docker,postgres")


def test_registry_away(deployed: Stack) -> None:
    deployed.lab.registry.stop()
    try:
        run = deploy_badly(deployed, only="postgres")
    finally:
        deployed.lab.registry.start()
    assert run.failure["code"] == "registry_unreachable"
    assert "check that the registry is up" in run.message


def test_image_that_is_never_healthy(deployed: Stack) -> None:
    deployed.lab.push_variant("never-healthy", {"BILLING_FAULT_NEVER_HEALTHY": "1"})
    run = deploy_badly(deployed, only="api", api_image=image("never-healthy"))
    deployed.measure("unhealthy_run_seconds", run.seconds)
    assert run.failure["code"] == "unhealthy"
    assert "is not healthy after 15 s" in run.message
    assert run.failure["logs"]


def test_image_that_ends_at_once(deployed: Stack) -> None:
    deployed.lab.push_variant("ends-at-once", {"BILLING_PORT": "not-a-number"})
    run = deploy_badly(deployed, only="api", api_image=image("ends-at-once"))
    assert run.failure["code"] == "unhealthy"
    # The container's own words say why
    assert "BILLING_PORT must be a number" in "\n".join(run.failure["logs"])


def test_migration_that_fails(deployed: Stack) -> None:
    deployed.lab.push_variant("bad-migration", {"BILLING_FAULT_MIGRATION": "fail"})
    run = deploy_badly(deployed, only="api", api_image=image("bad-migration"))
    assert run.failure["code"] == "migration_failed"
    assert "nothing was switched" in run.message
    assert run.failure["logs"]


def test_image_that_does_not_fit_on_the_disk(deployed: Stack, big_image: str) -> None:
    with small_filesystem(deployed, "/var/lib/docker/tmp"):
        run = deploy_badly(deployed, only="api", api_image=image(big_image))
    assert run.failure["code"] == "disk_full"
    assert "free space on this host" in run.message


def test_full_disk_under_the_projects_files(deployed: Stack, converges: Callable[..., None]) -> None:
    with small_filesystem(deployed, "/opt/billing"):
        refused = deploy_badly(deployed, only="api")
        assert "0 MB free" in refused.message
        variables = {"api_env": {"GREETING": "hello " * 2000}, "billing_minimum_disk_mb": 0}
        run = deploy_badly(deployed, only="api", **variables)
    assert "No space left on device" in run.message
    converges(only="api")


def test_full_disk_under_the_engines_files(deployed: Stack, converges: Callable[..., None]) -> None:
    deployed.lab.push_variant("other", {"OTHER": "yes"})
    with small_filesystem(deployed, "/opt/billing/releases"):
        run = deploy_badly(deployed, only="api", api_image=image("other"))
    assert run.failure["code"] == "disk_full"
    converges(only="api")


def test_too_little_disk_is_refused_before_anything_changes(deployed: Stack) -> None:
    run = deploy_badly(deployed, billing_minimum_disk_mb=100_000_000)
    assert "MB free" in run.message
    assert "at least 100000000 MB are needed" in run.message
    assert run.changed == []


def test_too_little_memory_is_refused_before_anything_changes(deployed: Stack) -> None:
    run = deploy_badly(deployed, billing_minimum_memory_mb=100_000_000)
    assert "at least 100000000 MB are needed" in run.message
    assert run.changed == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("api_replicas", "many", ["api_replicas", "many", "int"]),
        ("api_image", "", ["api_image is missing", "registry.example.com"]),
        ("api_image", "Not An Image", ["'Not An Image' is not an image reference"]),
        ("api_database_url", "postgresql://u@db/x", ["give both api_database_url and api_migration_database_url"]),
        ("nginx_tls_certificate", "/some/file.crt", ["nginx_tls_certificate_key must be given both or not at all"]),
        ("postgres_major_version", 18, ["postgres_major_version (18)", "agree with the tag of postgres_image"]),
        ("rollout_agent_services", {"api": {"digest": f"sha256:{'0' * 64}"}}, ["goes with mode pin"]),
        ("rollout_agent_knock_secret", "a-secret-that-is-long-enough\nshort", ["each line of it", "20 characters"]),
        (
            "rollout_agent_notifications",
            [{"name": "ops", "url": "https://ops.example/hook\n"}],
            ["url in rollout_agent_notifications", "line breaks"],
        ),
    ],
)
def test_wrong_or_contradictory_variable(deployed: Stack, name: str, value: object, words: list[str]) -> None:
    tag = "agent" if name.startswith("rollout_agent") else name.partition("_")[0]
    run = deploy_badly(deployed, only=tag, **{name: value})
    assert [word for word in words if word not in run.message] == []
    assert run.changed == []


def test_taken_port(deployed: Stack, invoice: dict[str, Any]) -> None:
    nginx = next(name for name in deployed.server.running() if name.startswith("nginx"))
    deployed.server.sh(f"docker stop billing-{nginx}-1")
    deployed.server.sh("systemd-run --quiet --unit=port-thief python3 -m http.server 80")
    try:
        run = deploy_badly(deployed, only="nginx")
    finally:
        deployed.server.sh("systemctl stop port-thief")
    assert run.failure["code"] == "port_taken"
    assert "another process listens on that port" in run.message
    again = deployed.playbooks.run("deploy_compose.yml", "--tags=nginx").ok()
    assert all("nginx" in task.lower() for task in again.changed), again.changed
    deployed.client.wait_serves(invoice)
    deployed.server.wait_running(CONTAINERS)


def test_good_input_after_all_that_changes_nothing(converges: Callable[..., None]) -> None:
    converges()


@pytest.mark.parametrize("settings", ["of this checkout", "Ansible's own"])
def test_missing_terraform_state(deployed: Stack, tmp_path: Path, settings: str) -> None:
    # By itself Ansible only warns about an inventory that cannot be read.
    (tmp_path / "empty.cfg").touch()
    env = {} if settings == "of this checkout" else {"ANSIBLE_CONFIG": str(tmp_path / "empty.cfg")}
    run = refused_inventory(deployed, tmp_path, None, env)
    assert f"There is no Terraform state at {tmp_path / 'terraform.tfstate'}" in run.words
    assert "Run 'terraform apply' first" in run.words


def test_contract_of_an_unknown_version(deployed: Stack, tmp_path: Path) -> None:
    contract = {"version": 99, "project": {}, "hosts": {}, "groups": {}}
    outputs = {"ansible_inventory": {"value": contract, "type": "string"}}
    state = {"version": 4, "terraform_version": "1.11.4", "serial": 1, "lineage": "x", "outputs": outputs}
    run = refused_inventory(deployed, tmp_path, state | {"resources": [{"mode": "managed"}]}, {})
    assert "It is version 99 of the contract; this plugin reads version 1." in run.words


def refused_inventory(stack: Stack, folder: Path, state: dict[str, Any] | None, env: dict[str, str]) -> Run:
    """Deploy with an inventory on this Terraform state, and return the run that must not have touched a host."""
    source = folder / "terraform_outputs.yml"
    source.write_text("---\nplugin: billing.infrastructure.terraform_outputs\nstate_file: terraform.tfstate\n")
    if state is not None:
        (folder / "terraform.tfstate").write_text(json.dumps(state))
    run = stack.playbooks.run("deploy_compose.yml", inventory=source, env=env)
    assert run.returncode != 0, f"it went on without hosts:\n{run.output}"
    assert SERVER not in run.hosts
    assert [word for word in CRASHES if word in run.output] == []
    return run


@pytest.fixture
def big_image(deployed: Stack, tmp_path: Path) -> Iterator[str]:
    """A tag of the API's repository with a layer that the server does not have: 8 MB that do not compress."""
    content = tmp_path / "content"
    content.write_bytes(os.urandom(8 << 20))
    with tarfile.open(tmp_path / "layer.tar", "w") as archive:
        archive.add(content, "content")
    name = f"billing-lab-{deployed.lab.name}:big"
    importing = ["docker", "import", "--change", 'CMD ["true"]', str(tmp_path / "layer.tar"), name]
    subprocess.run(importing, check=True, capture_output=True)
    deployed.lab.registry.push(name, "billing-api:big")
    yield "big"
    subprocess.run(["docker", "rmi", name], check=True, capture_output=True)


@contextmanager
def small_filesystem(stack: Stack, path: str) -> Iterator[None]:
    """A full file system over a directory of the server, with the same content."""
    stack.server.sh(f"""
        mkdir -p /run/small
        mount -t tmpfs -o size=1m,mode=0750 small /run/small
        cp -a {path}/. /run/small/
        dd if=/dev/zero of=/run/small/filler bs=4k 2>/dev/null || true
        mount --bind /run/small {path}
    """)
    try:
        yield
    finally:
        stack.server.sh(f"umount {path}; umount /run/small")
