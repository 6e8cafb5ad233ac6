# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What the role docker leaves on a host, after its options were changed under a running container (side_effect.yml)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from testinfra.host import Host


@pytest.fixture
def info(host: Host) -> Any:
    """What the running daemon says about itself."""
    return json.loads(host.check_output("docker info --format '{{json .}}'"))


def test_engine_and_compose_are_new_enough(host: Host, info: Any) -> None:
    assert int(info["ServerVersion"].split(".")[0]) >= 25
    major, minor = host.check_output("docker compose version --short").lstrip("v").split(".")[:2]
    assert (int(major), int(minor)) >= (2, 24)


def test_daemon_runs_with_the_options_of_the_last_good_run(host: Host, info: Any) -> None:
    options = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert options["live-restore"] is True
    assert options["icc"] is False
    assert options["userland-proxy"] is False
    assert options["no-new-privileges"] is True
    assert options["log-opts"]["max-size"] == "1m"
    assert "no-such-option" not in options
    assert info["LiveRestoreEnabled"] is True
    assert "name=no-new-privileges" in info["SecurityOptions"]


def test_daemon_starts_at_boot(host: Host) -> None:
    service = host.service("docker")
    assert service.is_enabled
    assert service.is_running


def test_docker0_is_of_the_pool(host: Host) -> None:
    assert host.interface("docker0").addresses[0].startswith("10.203.")


def test_credentials_are_for_root_alone(host: Host) -> None:
    config = host.file("/root/.docker/config.json")
    assert (config.user, config.group, config.mode) == ("root", "root", 0o600)
    assert "registry.lab:5000" in json.loads(config.content_string)["auths"]


def test_registry_is_trusted_and_logged_in_to(host: Host) -> None:
    """The container that side_effect.yml started came from a registry with a CA of its own and a password."""
    image = host.check_output("docker inspect --format '{{.Config.Image}}' witness")
    assert image.startswith("registry.lab:5000/")
    assert host.file("/etc/docker/certs.d/registry.lab:5000/ca.crt").contains("BEGIN CERTIFICATE")
