# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""Hosts out of the resources of a state without our contract: one for each live instance, whatever `count` it is of.

Private to the collection. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from ._terraform_contract import (
    CONTRACT_VERSION,
    Contract,
    ContractHost,
    TerraformError,
    is_address,
    is_group_name,
    is_user,
)
from ._terraform_stale import attributes_of, is_live
from ._terraform_state import State, StateMissingError
from ._terraform_types import ADDRESSES, KNOWN, PLACEMENT

_KEYS = ("type", "module", "name", "addresses", "attributes", "groups", "user", "port")


@dataclass(frozen=True)
class Selector:
    """One entry of the option `resources`. `type`, `module` and `name` are patterns as of a shell."""

    type: str
    module: str | None
    name: str
    addresses: Mapping[str, str]
    attributes: tuple[str, ...]
    groups: tuple[str, ...]
    user: str | None
    port: int | None

    def takes(self, kind: str, resource: Mapping[str, Any]) -> bool:
        """Tell whether a resource of this kind is meant."""
        return (
            fnmatchcase(kind, self.type)
            and fnmatchcase(str(resource.get("name")), self.name)
            and (self.module is None or fnmatchcase(str(resource.get("module") or ""), self.module))
        )


def parse_selectors(entries: Sequence[object]) -> tuple[Selector, ...]:
    """Return the option `resources`, or raise TerraformError naming the entry that is wrong."""
    return tuple(_selector(entry, f"resources[{index}]") for index, entry in enumerate(entries))


def _selector(entry: object, where: str) -> Selector:
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        raise TerraformError(f"{where} is not a dictionary with a type, such as {{type: aws_instance}}. Correct it.")
    unknown = sorted(str(key) for key in entry if key not in _KEYS)
    if unknown:
        raise TerraformError(f"{where} has unknown keys: {', '.join(unknown)}. It may have: {', '.join(_KEYS)}.")
    addresses = entry.get("addresses") or {}
    if not isinstance(addresses, dict) or not set(addresses) <= set(ADDRESSES):
        raise TerraformError(f"{where}.addresses is not a dictionary of {', '.join(ADDRESSES)}. Correct it.")
    groups = _words(entry, "groups", where)
    for group in groups:
        if not is_group_name(group):
            raise TerraformError(f"{where}.groups: {group!r} is not the name of a group. Use a-z, 0-9 and _.")
    port, user = entry.get("port"), entry.get("user")
    if port is not None and (not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535):
        raise TerraformError(f"{where}.port is {port!r}, not a whole number from 1 to 65535. Correct it.")
    if user is not None and not (isinstance(user, str) and is_user(user)):
        raise TerraformError(f"{where}.user is {user!r}, not the name of a user. Correct it.")
    return Selector(
        type=str(entry["type"]),
        module=None if entry.get("module") is None else str(entry["module"]),
        name=str(entry.get("name") or "*"),
        addresses={str(kind): str(path) for kind, path in addresses.items()},
        attributes=_words(entry, "attributes", where),
        groups=groups,
        user=user,
        port=port,
    )


def _words(entry: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    names = entry.get(key) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TerraformError(f"{where}.{key} is not a list of names. Correct it.")
    return tuple(str(name) for name in names)


def resource_contract(state: State, selectors: Sequence[Selector]) -> Contract:
    """Return every live instance that a selector takes as a host, by its address; the first that does decides.

    Tainted and deposed instances are left out: the next apply removes them.
    """
    hosts: dict[str, ContractHost] = {}
    kinds = set()
    for resource in state.resources:
        kind = f"data.{resource.get('type')}" if resource.get("mode") == "data" else str(resource.get("type"))
        kinds.add(kind)
        selector = next((one for one in selectors if one.takes(kind, resource)), None)
        if selector is None:
            continue
        for instance in resource.get("instances") or []:
            if is_live(instance):
                name, address = _names(resource, instance, kind)
                hosts[address] = {**_host(resource, instance, kind, address, selector), "name": name}
    if not hosts:
        wanted = ", ".join(one.type for one in selectors)
        raise StateMissingError(
            f"No live resource in {state.where} is one of resources ({wanted}); it has: "
            f"{', '.join(sorted(kinds)) or 'none'}. Run 'terraform apply', or correct resources."
        )
    project: dict[str, str | None] = {"name": "", "environment": None, "provider": None, "region": None}
    return {"version": CONTRACT_VERSION, "project": project, "hosts": hosts, "groups": {}}


def _names(resource: Mapping[str, Any], instance: Mapping[str, Any], kind: str) -> tuple[str, str]:
    """Return the host name and Terraform's address of an instance: net-web-a, module.net.aws_instance.web["a"]."""
    module, name, key = str(resource.get("module") or ""), str(resource.get("name")), instance.get("index_key")
    address = ".".join(part for part in (module, kind, name) if part)
    if key is not None:
        address += f"[{json.dumps(key, ensure_ascii=False)}]"
    path = re.sub(r"(^|\.)module\.", "-", module)
    parts = [path, name] if key is None else [path, name, str(key)]
    return re.sub(r"[^A-Za-z0-9_.]+", "-", "-".join(parts)).strip("-."), address


def _host(
    resource: Mapping[str, Any], instance: Mapping[str, Any], kind: str, address: str, selector: Selector
) -> ContractHost:
    attributes = attributes_of(instance)
    secret = _sensitive(instance)
    known = KNOWN.get(kind.removeprefix("data."), {})

    def found(key: str) -> str | None:
        path = selector.addresses.get(key) or known.get(key)
        value = None if path is None or path.split(".")[0] in secret else _follow(attributes, path)
        return str(value) if isinstance(value, str | int) and value != "" else None

    addresses = {key: found(key) for key in ADDRESSES}
    for key, value in addresses.items():
        if value is not None and not is_address(value):
            raise TerraformError(f"The {key} of {address} is {value!r}, which is not an address. Correct resources.")
    chosen = next((value for value in addresses.values() if value), None)
    tags = known.get("tags")
    return {
        "resource_id": _text(attributes.get("id")),
        "connection": {
            "type": "none" if chosen is None else "ssh",
            "address": chosen,
            "port": selector.port,
            "user": selector.user,
            "host_keys": [],
            "options": {},
        },
        "addresses": addresses,
        "placement": {key: found(key) for key in PLACEMENT},
        "volumes": {},
        "groups": list(selector.groups),
        "vars": {},
        "resource": {
            "address": address,
            "module": resource.get("module"),
            "type": resource.get("type"),
            "name": resource.get("name"),
            "key": instance.get("index_key"),
            "tags": attributes.get(tags) if tags and tags not in secret else None,
            "attributes": _chosen(attributes, secret, selector.attributes, address),
        },
    }


def _chosen(
    attributes: Mapping[str, Any], secret: frozenset[str], names: Sequence[str], address: str
) -> dict[str, Any]:
    """Return the attributes that were asked for; a sensitive one is refused."""
    for name in names:
        if name in secret:
            raise TerraformError(
                f"The attribute {name!r} of {address} is sensitive. An inventory is shown and cached in the clear: "
                "take it out of attributes in resources."
            )
    return {name: attributes.get(name) for name in names}


def _sensitive(instance: Mapping[str, Any]) -> frozenset[str]:
    """Return the attributes that are sensitive, in whole or in part. The state lists paths of {"value": "tags"}."""
    paths = instance.get("sensitive_attributes") or []
    firsts = [path[0] for path in paths if isinstance(path, list) and path]
    return frozenset(str(first.get("value")) for first in firsts if isinstance(first, dict))


def _follow(value: object, path: str) -> object:
    """Return what lies at a dotted path, such as network_interface.0.network_ip, or None."""
    for part in path.split("."):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
