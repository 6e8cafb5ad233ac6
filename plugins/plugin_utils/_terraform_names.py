# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""Names in the inventory: each means one thing. Private to the collection. Pure."""

from __future__ import annotations

from collections.abc import Container, Mapping

from ._terraform_contract import TerraformError


def refuse_taken_name(name: str, origin: str, hosts: Mapping[str, str], groups: Container[str]) -> None:
    """Refuse a host whose name another host (name -> origin) or a group has: Ansible would take one for the other."""
    if name in hosts:
        raise TerraformError(
            f"{hosts[name]} and {origin} would both be the host {name}. Correct hostname, or set it to "
            "an expression that tells them apart."
        )
    if name in groups:
        raise TerraformError(
            f"{origin} would be the host {name}, and {name} is a group, too. Set hostname to an expression that gives "
            "another name, or rename the group or what Terraform calls the host."
        )
