# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API in its slot, without a proxy."""

from __future__ import annotations

import json
from typing import Any

import pytest
from testinfra.host import Host

ADDRESSES = ["10.201.0.11", "10.201.0.12"]


@pytest.fixture
def containers(host: Host) -> list[dict[str, Any]]:
    ids = host.check_output("docker ps -q --filter label=billing.slot")
    found: list[dict[str, Any]] = json.loads(host.check_output("docker inspect " + ids.replace("\n", " ")))
    return found


def test_every_replica_of_the_blue_slot_serves_at_its_fixed_address(host: Host) -> None:
    for address in ADDRESSES:
        health = host.check_output(f'python3 -c "{_get(f"http://{address}:8000/health/db")}"')
        assert json.loads(health)["status"] == "ok"


def test_the_upstream_file_names_every_replica(host: Host) -> None:
    text = host.file("/opt/billing/nginx/upstreams/api.conf").content_string
    for address in ADDRESSES:
        assert f"server {address}:8000 max_fails=0;" in text


def test_the_digest_that_was_resolved_is_what_runs(host: Host, containers: list[dict[str, Any]]) -> None:
    recorded = host.check_output("sed -n s/^API_BLUE_IMAGE=//p /opt/billing/release.env")
    assert "@sha256:" in recorded
    assert [container["Config"]["Image"] for container in containers] == [recorded, recorded]


def test_containers_are_confined(containers: list[dict[str, Any]]) -> None:
    for container in containers:
        settings = container["HostConfig"]
        assert settings["ReadonlyRootfs"] is True
        assert settings["CapDrop"] == ["ALL"]
        assert "no-new-privileges:true" in settings["SecurityOpt"]
        assert settings["PortBindings"] in ({}, None)
        assert container["Config"]["User"] == "10001:10001"


def test_processes_are_limited_where_the_kernel_can(host: Host, containers: list[dict[str, Any]]) -> None:
    possible = host.check_output("docker info --format '{{.PidsLimit}}'") == "true"
    assert [container["HostConfig"]["PidsLimit"] for container in containers] == [256 if possible else None] * 2


def test_the_environment_arrives_to_the_letter(containers: list[dict[str, Any]]) -> None:
    wanted = "AWKWARD=a $dollar, a \"quote\", an 'apostrophe', a \\ and a # in\ntwo lines"
    assert wanted in containers[0]["Config"]["Env"]


def test_secrets_are_files_of_the_application_and_nowhere_else(host: Host, containers: list[dict[str, Any]]) -> None:
    for name in ("api_database_url", "api_migration_database_url", "api_payment_key"):
        secret = host.file(f"/opt/billing/secrets/{name}")
        assert (secret.uid, secret.mode) == (10001, 0o400)
    password = host.check_output("cat /srv/billing/secrets/postgres_app_password")
    shown = json.dumps(containers) + host.check_output("docker logs " + containers[0]["Id"] + " 2>&1")
    assert password not in shown
    assert "planted-payment-key" not in shown
    assert host.check_output(f"docker exec {containers[0]['Id']} cat /run/secrets/payment_key") == "planted-payment-key"


def test_compose_in_the_project_directory_means_the_live_slot(host: Host) -> None:
    services = host.check_output("cd /opt/billing && docker compose config --services").split()
    assert sorted(services) == ["api-blue-1", "api-blue-2", "postgres"]


def _get(url: str) -> str:
    return f"import urllib.request as r; print(r.urlopen('{url}', timeout=5).read().decode())"
