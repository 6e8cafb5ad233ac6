# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""The contract between Terraform and the inventory: checked, then turned into hosts, groups and variables.

Private to the collection. Pure: no file, no process, nothing from Ansible. The other side of the contract is
terraform/modules/contract.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

CONTRACT_VERSION = 1


class TerraformError(Exception):
    """What is wrong, where, and what to do next, in one readable message."""


class Connection(TypedDict):
    type: str
    address: str | None
    port: int | None
    user: str | None
    host_keys: list[str]
    options: dict[str, str]


class ContractHost(TypedDict):
    resource_id: str | None
    connection: Connection
    addresses: dict[str, str | None]
    placement: dict[str, str | None]
    volumes: dict[str, dict[str, str | None]]
    groups: list[str]
    vars: dict[str, Any]
    # Never of the contract: what _terraform_resources knows beyond it.
    name: NotRequired[str]
    resource: NotRequired[dict[str, Any]]


class ContractGroup(TypedDict):
    vars: dict[str, Any]
    children: list[str]


class Contract(TypedDict):
    version: int
    project: dict[str, str | None]
    hosts: dict[str, ContractHost]
    groups: dict[str, ContractGroup]


class TerraformHost(TypedDict):
    """The host variable `terraform_host`."""

    resource_id: str | None
    connection: Connection
    addresses: dict[str, str | None]
    placement: dict[str, str | None]
    volumes: dict[str, dict[str, str | None]]
    project: dict[str, str | None]
    resource: NotRequired[dict[str, Any]]


class ConnectionVars(TypedDict, total=False):
    """What Ansible needs to reach a host."""

    ansible_connection: str
    ansible_host: str
    ansible_port: int
    ansible_user: str
    ansible_ssh_private_key_file: str
    ansible_ssh_common_args: str


@dataclass(frozen=True)
class Host:
    """`origin` is what Terraform calls it, unlike `name` it is never that of two hosts."""

    name: str
    origin: str
    groups: tuple[str, ...]
    variables: dict[str, Any]


@dataclass(frozen=True)
class Group:
    name: str
    children: tuple[str, ...]
    variables: dict[str, Any]


@dataclass(frozen=True)
class Inventory:
    groups: tuple[Group, ...]
    hosts: tuple[Host, ...]


# The shape of version 1: which key holds which JSON type. `None` beside a type: may be null.
_TEXT = (str, type(None))
_CONTRACT = {"project": (dict,), "hosts": (dict,), "groups": (dict,)}
_PROJECT = {"name": (str,), "environment": _TEXT, "provider": _TEXT, "region": _TEXT}
_HOST = {
    "resource_id": _TEXT,
    "connection": (dict,),
    "addresses": (dict,),
    "placement": (dict,),
    "volumes": (dict,),
    "groups": (list,),
    "vars": (dict,),
}
_CONNECTION = {
    "type": (str,),
    "address": _TEXT,
    "port": (int, type(None)),
    "user": _TEXT,
    "host_keys": (list,),
    "options": (dict,),
}
_GROUP = {"vars": (dict,), "children": (list,)}
_JSON_NAMES = {str: "a string", int: "a whole number", dict: "an object", list: "a list", type(None): "null"}

_PLUGINS = {"ssh": "ssh", "local": "local", "docker": "community.docker.docker"}
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_GROUP_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_ADDRESS = re.compile(r"[0-9A-Za-z:][0-9A-Za-z.:%_-]*")
_USER = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.@+-]*")
_HOST_KEY = re.compile(r"((?:sk-)?(?:ssh|ecdsa)-[0-9a-z@.-]+) ([0-9A-Za-z+/]+={0,2})( [^\r\n]*)?")
_OPTIONS = ("private_key_file", "known_hosts_file")
_NEXT = "Build the output with terraform/modules/contract, which checks it, and apply again."


def is_address(value: str) -> bool:
    """Tell whether `value` may stand for a host on a command line of ssh."""
    return bool(_ADDRESS.fullmatch(value))


def is_user(value: str) -> bool:
    """Tell whether `value` may be whom Ansible logs in as."""
    return bool(_USER.fullmatch(value))


def is_group_name(value: str) -> bool:
    """Tell whether `value` may be a group of the contract."""
    return bool(_GROUP_NAME.fullmatch(value))


def is_host_name(value: str) -> bool:
    """Tell whether `value` may be a host of the contract."""
    return bool(_HOST_NAME.fullmatch(value))


def check_contract(value: object) -> Contract:
    """Return `value` as a contract, or raise TerraformError naming the first place that breaks it."""
    if not isinstance(value, dict) or "version" not in value:
        raise TerraformError(f"It is not an inventory contract: it has no 'version'. {_NEXT}")
    version = value["version"]
    if version != CONTRACT_VERSION or isinstance(version, bool):
        raise TerraformError(
            f"It is version {version!r} of the contract; this plugin reads version {CONTRACT_VERSION}. "
            "Use the Terraform modules and the collection of the same release."
        )
    _check_keys(value, _CONTRACT, "")
    _check_keys(value["project"], _PROJECT, "project")
    for name, group in value["groups"].items():
        _check_keys(group, _GROUP, f"groups.{name}")
        _check_name(name, _GROUP_NAME, "groups")
        _check_names(group["children"], f"groups.{name}.children")
    for name, host in value["hosts"].items():
        _check_name(name, _HOST_NAME, "hosts")
        _check_host(host, f"hosts.{name}")
    return cast("Contract", value)


def build_inventory(contract: Contract, base: Path, connect_with: Sequence[str] = (), prefix: str = "") -> Inventory:
    """Turn a checked contract into hosts and groups.

    `base` is the folder that relative paths in connection.options start from. `connect_with` names the addresses that
    take the place of connection.address, the first that a host has. `prefix` is put before the names of variables,
    except of those that tell Ansible how to connect.
    """
    groups = {
        name: Group(name, tuple(group["children"]), _prefixed(group["vars"], prefix))
        for name, group in contract["groups"].items()
    }
    hosts = tuple(
        Host(
            host.get("name", name),
            name,
            tuple(host["groups"]),
            _prefixed(_host_variables(name, host, contract["project"], base, connect_with), prefix),
        )
        for name, host in contract["hosts"].items()
    )
    named = [group for host in hosts for group in host.groups]
    named += [child for group in groups.values() for child in group.children]
    for name in named:
        groups.setdefault(name, Group(name, (), {}))
    return Inventory(groups=tuple(groups.values()), hosts=hosts)


def _prefixed(variables: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    if not prefix:
        return dict(variables)
    return {name if name.startswith("ansible_") else f"{prefix}{name}": value for name, value in variables.items()}


def _host_variables(
    name: str, host: ContractHost, project: dict[str, str | None], base: Path, connect_with: Sequence[str]
) -> dict[str, Any]:
    """Connection first, so that a host's own `vars` win over what follows from its connection."""
    connection = host["connection"]
    if connect_with and connection["type"] == "ssh":
        connection = {**connection, "address": _preferred_address(name, host, connect_with)}
    facts: TerraformHost = {
        "resource_id": host["resource_id"],
        "connection": host["connection"],
        "addresses": host["addresses"],
        "placement": host["placement"],
        "volumes": host["volumes"],
        "project": project,
    }
    if "resource" in host:
        facts["resource"] = host["resource"]
    return {**connection_variables(connection, base), "terraform_host": facts, **host["vars"]}


def _preferred_address(name: str, host: ContractHost, connect_with: Sequence[str]) -> str:
    for kind in connect_with:
        address = host["addresses"].get(kind)
        if address:
            _check_name(address, _ADDRESS, f"hosts.{name}.addresses.{kind}")
            return address
    known = ", ".join(sorted(kind for kind, address in host["addresses"].items() if address)) or "none"
    raise TerraformError(
        f"The host {name} has none of the addresses of connect_with ({', '.join(connect_with)}); it has: {known}. "
        "Correct connect_with, or add the address to the contract."
    )


def connection_variables(connection: Connection, base: Path) -> ConnectionVars:
    """Return how Ansible reaches a host. `none` says nothing: group_vars or `compose` decide."""
    variables: ConnectionVars = {}
    if connection["type"] == "none":
        return variables
    variables["ansible_connection"] = _PLUGINS[connection["type"]]
    if connection["address"] is not None:
        variables["ansible_host"] = connection["address"]
    if connection["port"] is not None:
        variables["ansible_port"] = connection["port"]
    if connection["user"] is not None:
        variables["ansible_user"] = connection["user"]
    if connection["type"] == "ssh":
        key_file = connection["options"].get("private_key_file")
        if key_file is not None:
            variables["ansible_ssh_private_key_file"] = str(_local_path(key_file, base))
        arguments = ssh_arguments(connection, base)
        if arguments:
            variables["ansible_ssh_common_args"] = shlex.join(arguments)
    return variables


def ssh_arguments(connection: Connection, base: Path) -> list[str]:
    """Return the ssh arguments that pin the host's identity.

    Host keys of the contract reach ssh without a file: KnownHostsCommand (OpenSSH 8.5 and newer, see ssh_config(5))
    prints them, and no other source of host keys is believed beside them and a named known_hosts file.
    """
    arguments: list[str] = []
    if "private_key_file" in connection["options"]:
        arguments += ["-o", "IdentitiesOnly=yes"]
    known_hosts = connection["options"].get("known_hosts_file")
    if known_hosts is None and not connection["host_keys"]:
        return arguments
    arguments += ["-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=/dev/null"]
    path = "/dev/null" if known_hosts is None else str(_local_path(known_hosts, base)).replace("%", "%%")
    arguments += ["-o", f'UserKnownHostsFile="{path}"']
    if connection["host_keys"]:
        keys = [key.split(" ")[:2] for key in connection["host_keys"]]
        lines = " ".join(f"%H {algorithm} {key}" for algorithm, key in keys)
        arguments += ["-o", rf'KnownHostsCommand=/usr/bin/printf "%%s %%s %%s\n" {lines}']
    return arguments


def _local_path(path: str, base: Path) -> Path:
    return base / Path(path).expanduser()


def _check_host(host: object, where: str) -> None:
    _check_keys(host, _HOST, where)
    checked = cast("ContractHost", host)
    connection = checked["connection"]
    _check_keys(connection, _CONNECTION, f"{where}.connection")
    _check_names(checked["groups"], f"{where}.groups")
    _check_connection(connection, f"{where}.connection")


def _check_connection(connection: Connection, where: str) -> None:
    if connection["type"] not in (*_PLUGINS, "none"):
        raise _wrong(f"{where}.type", connection["type"], "one of ssh, local, docker, none")
    if connection["type"] in ("ssh", "docker") and connection["address"] is None:
        raise _wrong(f"{where}.address", None, f"an address, because the type is {connection['type']}")
    if connection["address"] is not None:
        _check_name(connection["address"], _ADDRESS, f"{where}.address")
    if connection["user"] is not None:
        _check_name(connection["user"], _USER, f"{where}.user")
    port = connection["port"]
    if port is not None and not 1 <= port <= 65535:
        raise _wrong(f"{where}.port", port, "from 1 to 65535")
    for index, key in enumerate(connection["host_keys"]):
        _check_name(key, _HOST_KEY, f"{where}.host_keys[{index}]")
    for option, path in connection["options"].items():
        if option not in _OPTIONS:
            raise _wrong(f"{where}.options", option, f"one of {', '.join(_OPTIONS)}")
        if not isinstance(path, str) or not path or re.search(r'["$\\\x00-\x1f]', path):
            raise _wrong(f"{where}.options.{option}", path, 'a path without ", $ and \\')


def _check_keys(value: object, shape: Mapping[str, tuple[type, ...]], where: str) -> None:
    """Check that `value` is an object with every key of `shape`. Keys beyond the shape are left alone."""
    if not isinstance(value, dict):
        raise _wrong(where or "the output", value, "an object")
    for key, kinds in shape.items():
        place = f"{where}.{key}" if where else key
        if key not in value:
            raise TerraformError(f"It breaks the contract at {place}: the key is missing. {_NEXT}")
        if not isinstance(value[key], kinds) or isinstance(value[key], bool):
            raise _wrong(place, value[key], " or ".join(_JSON_NAMES[kind] for kind in kinds))


def _check_names(names: Sequence[object], where: str) -> None:
    for name in names:
        _check_name(name, _GROUP_NAME, where)


def _check_name(value: object, pattern: re.Pattern[str], where: str) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _wrong(where, value, f"text like {pattern.pattern}")


def _wrong(where: str, value: object, wanted: str) -> TerraformError:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return TerraformError(f"It breaks the contract at {where}: {shown} is not {wanted}. {_NEXT}")
