# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directories and the Compose project."""

from __future__ import annotations

import pytest
from testinfra.host import Host


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("/opt/billing", 0o750),
        ("/opt/billing/compose.d", 0o750),
        ("/opt/billing/nginx/upstreams", 0o755),
        ("/opt/billing/secrets", 0o700),
        ("/srv/billing", 0o755),
        ("/srv/billing/secrets", 0o700),
    ],
)
def test_directories_belong_to_root_and_are_no_wider_than_needed(host: Host, path: str, mode: int) -> None:
    directory = host.file(path)
    assert (directory.is_directory, directory.user, directory.mode) == (True, "root", mode)


def test_the_database_network_is_internal_and_addresses_can_be_moved(host: Host) -> None:
    text = host.file("/opt/billing/compose.yaml").content_string
    assert "subnet: 10.203.0.0/24" in text
    assert text.count("internal: true") == 1
    assert text.index("data:") < text.index("internal: true")


def test_nginx_finds_an_upstream_before_the_first_release(host: Host) -> None:
    assert "no_release" in host.file("/opt/billing/nginx/upstreams/api.conf").content_string


def test_docker_compose_finds_what_the_engine_records(host: Host) -> None:
    assert host.file("/opt/billing/.env").linked_to == "/opt/billing/release.env"
