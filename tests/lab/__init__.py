# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Real hosts on this machine, without a cloud: servers reached over SSH, a registry, stand-ins for official images.

lab = Lab("demo")
lab.up()
host = lab.add_host("client")
host.ssh("uname -a").stdout
lab.push_variant("never-healthy", {"BILLING_FAULT": "never_healthy"})
lab.registry.stop()
lab.down()
"""

from tests.lab.hosts import Host
from tests.lab.lab import Lab
from tests.lab.registry import Registry
from tests.lab.shell import LabError

__all__ = ["Host", "Lab", "LabError", "Registry"]
