# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What the role docker leaves on the host."""

from __future__ import annotations

from testinfra.host import Host


def test_docker_runs(host: Host) -> None:
    """a"""
    assert host.run("true").rc == 0
