# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""Which hosts of the contract stand on a resource that is no more.

After a half-failed apply the outputs are those of the apply before; the resources of the state tell the truth.

Private to the collection. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._terraform_contract import Contract
from ._terraform_state import State

# Attributes that name the object itself. An `instance_id`, say, is mostly that of another resource.
_IDENTITIES = ("id", "arn", "self_link", "urn")
_SHOWN = 10  # hosts in one message


def is_live(instance: Mapping[str, Any]) -> bool:
    """Tell whether an instance of a resource is neither tainted nor deposed: the next apply keeps it."""
    return instance.get("status") != "tainted" and not instance.get("deposed")


def attributes_of(instance: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the attributes of an instance; those that Terraform 0.11 wrote are flat until the next apply."""
    found = instance.get("attributes") or instance.get("attributes_flat")
    return found if isinstance(found, dict) else {}


def dead_hosts(contract: Contract, state: State) -> dict[str, str]:
    """Return the hosts whose resource is not live, each with the reason. Hosts without a resource_id are believed."""
    managed, read, tainted, deposed = _identities(state)
    dead = {}
    for name, host in contract["hosts"].items():
        identity = host["resource_id"]
        if identity is None:
            continue
        if identity in tainted:
            dead[name] = f"{identity} is tainted: the next apply replaces it"
        elif identity in managed:
            continue
        elif identity in deposed:
            dead[name] = f"{identity} is deposed: the next apply destroys it"
        elif identity not in read:
            dead[name] = f"{identity} is not in the state"
    return dead


def _identities(state: State) -> tuple[set[str], set[str], set[str], set[str]]:
    """Return what resources are known by: live ones, those of data sources, tainted ones, deposed ones.

    A data source may still know what is gone, so it is believed last. Resources may share an identity: an object that
    is created before its predecessor of the same name is destroyed.
    """
    managed: set[str] = set()
    read: set[str] = set()
    tainted: set[str] = set()
    deposed: set[str] = set()
    for resource, instance in state.instances():
        if instance.get("deposed"):
            known = deposed
        elif not is_live(instance):
            known = tainted
        else:
            known = read if resource.get("mode") == "data" else managed
        attributes = attributes_of(instance)
        known.update(value for name in _IDENTITIES if isinstance(value := attributes.get(name), str) and value)
    return managed, read, tainted, deposed


def without(contract: Contract, names: Mapping[str, str]) -> Contract:
    """Return the contract without some of its hosts."""
    return {**contract, "hosts": {name: host for name, host in contract["hosts"].items() if name not in names}}


def stale_message(dead: Mapping[str, str], output: str, where: str) -> str:
    """Say which hosts are stale and why, without the advice."""
    said = [f"{name} ({why})" for name, why in list(dead.items())[:_SHOWN]]
    more = f" and {len(dead) - _SHOWN} more" if len(dead) > _SHOWN else ""
    return f"The output {output!r} in {where} is stale, it still names {', '.join(said)}{more}."
