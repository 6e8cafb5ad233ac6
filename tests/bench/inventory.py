# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Measure `ansible-inventory --list` over a Terraform state and over a YAML file of the same hosts.

Beside them, what other plugins do first: `terraform show -json`, and parse what it prints.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from plugins.plugin_utils._terraform_reading import Request, reading_of
from plugins.plugin_utils._terraform_state import read_state
from tests.bench.server import machine_facts, spread
from tests.demo import ROOT
from tests.terraform_cli import find_terraform

# hosts -> the most that they may cost over a static inventory, in seconds
TARGETS = {1: 0.1, 500: 1.0, 10_000: 12.0}
_LARGE = 10_000  # from here on one run takes longer than what disturbs it


def measure(runs: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure every size some times, the ways in turn, so that a slow minute of the machine is shared."""
    terraform = str(find_terraform(say))
    report: dict[str, Any] = {
        "units": {"seconds": "s"},
        "machine": machine_facts(),
        "terraform": _first_line([terraform, "version"]),
        "ansible": _first_line([_ansible(), "--version"]),
        "hosts": {},
    }
    for count in TARGETS:
        rounds = runs if count >= _LARGE else 3 * runs
        say(f"inventory: {count} hosts, {rounds} runs of each way")
        with tempfile.TemporaryDirectory(prefix="billing-bench-") as folder:
            report["hosts"][str(count)] = _measure_one(Path(folder), count, rounds, terraform)
    return report


def problems(report: Mapping[str, Any]) -> list[str]:
    """Return which targets were missed."""
    return [
        f"inventory of {count} hosts: {over:.2f} s over a static one, at most {TARGETS[int(count)]:g} s are allowed"
        for count, one in report["hosts"].items()
        if (over := one["over_static"]) > TARGETS[int(count)]
    ]


def summary(report: Mapping[str, Any]) -> str:
    """Return the medians, a line for each size."""
    return "\n".join(
        f"inventory of {count} hosts: median {one['plugin']['median']:.2f} s, static {one['static']['median']:.2f} s "
        f"({one['over_static']:+.2f} s), reading the state {one['read']['median']:.3f} s, "
        f"terraform show -json {one['show']['median']:.3f} s"
        for count, one in report["hosts"].items()
    )


def _measure_one(folder: Path, count: int, runs: int, terraform: str) -> dict[str, Any]:
    state = folder / "terraform.tfstate"
    content = state_of(count)
    text = json.dumps(content)
    state.write_text(text)
    config = {"plugin": "billing.infrastructure.terraform_outputs", "state_file": state.name}
    (folder / "terraform_outputs.yml").write_text(json.dumps(config))
    static = folder / "hosts.yml"
    plugin = folder / "terraform_outputs.yml"
    static.write_text(yaml.safe_dump(_static(content["outputs"]["ansible_inventory"]["value"])))

    def show() -> None:
        json.loads(_run([terraform, "show", "-json", state.name], folder))

    ways: dict[str, Callable[[], object]] = {
        "static": lambda: _list(folder, static),
        "plugin": lambda: _list(folder, plugin),
        "read": lambda: reading_of(read_state(state), Request("ansible_inventory")),
        "show": show,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _round in range(runs):
        for name, way in ways.items():
            began = time.monotonic()
            way()
            seconds[name].append(time.monotonic() - began)
    found = {name: spread(values) for name, values in seconds.items()}
    differences = [plugin - plain for plugin, plain in zip(seconds["plugin"], seconds["static"], strict=True)]
    return {
        **found,
        "runs": runs,
        "over_static": round(statistics.median(differences), 3),
        "state_mib": round(len(text) / 2**20, 2),
    }


def state_of(count: int) -> dict[str, Any]:
    """Return a state of `count` servers and their contract, with a provider that is built into Terraform."""
    hosts, instances = {}, []
    for number in range(count):
        name, identity = f"api{number}", f"00000000-0000-4000-8000-{number:012}"
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        hosts[name] = _host(identity, address)
        given = {"value": _attributes(name, address), "type": ["map", "string"]}
        attributes = {"id": identity, "input": given, "output": given, "triggers_replace": None}
        instances.append({"index_key": name, "schema_version": 0, "attributes": attributes, "sensitive_attributes": []})
    contract = {
        "version": 1,
        "project": {"name": "billing", "environment": "bench", "provider": "aws", "region": "eu-central-1"},
        "hosts": hosts,
        "groups": {"billing": {"vars": {"api_image": "registry.example.com/billing-api:stable"}, "children": []}},
    }
    resource = {
        "mode": "managed",
        "type": "terraform_data",
        "name": "server",
        "provider": 'provider["terraform.io/builtin/terraform"]',
        "instances": instances,
    }
    return {
        "version": 4,
        "terraform_version": "1.11.4",
        "serial": 1,
        "lineage": "00000000-0000-4000-8000-000000000000",
        "outputs": {"ansible_inventory": {"value": contract, "type": _type(contract)}},
        "resources": [resource],
        "check_results": None,
    }


def _host(identity: str, address: str) -> dict[str, Any]:
    return {
        "resource_id": identity,
        "connection": {
            "type": "ssh",
            "address": address,
            "port": None,
            "user": "admin",
            "host_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJbq"],
            "options": {"private_key_file": "id_ed25519"},
        },
        "addresses": {"public_ipv4": address, "public_ipv6": None, "private_ipv4": None, "fqdn": None},
        "placement": {
            "region": "eu-central-1",
            "zone": "eu-central-1a",
            "type": "t4g.small",
            "arch": "arm64",
            "image": "ami-0123456789abcdef0",
        },
        "volumes": {"data": {"id": "vol-0123456789abcdef0", "device": "/dev/sdf", "mount": "/srv/billing"}},
        "groups": ["billing"],
        "vars": {"api_replicas": 2},
    }


def _attributes(name: str, address: str) -> dict[str, str]:
    """Return about as much as the state holds of an instance at a cloud."""
    return {f"attribute_{number}": f"{name} {address} {number}" for number in range(40)}


def _type(value: object) -> object:
    """Return the type that Terraform writes beside the value of an output."""
    if isinstance(value, dict):
        return ["object", {name: _type(item) for name, item in value.items()}]
    if isinstance(value, list):
        return ["list", "string"]
    return "number" if isinstance(value, int) else "string"


def _static(contract: Mapping[str, Any]) -> dict[str, Any]:
    """Return a YAML inventory of the same hosts with no more than it takes to connect.

    With all the variables that the plugin sets, Ansible's YAML reader alone would take longer than the plugin.
    """
    hosts = {
        name: {"ansible_host": host["connection"]["address"], "ansible_user": host["connection"]["user"]}
        for name, host in contract["hosts"].items()
    }
    return {"billing": {"hosts": hosts}}


def _list(folder: Path, source: Path) -> str:
    """Run ansible-inventory and return what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "TF_"))}
    env = {
        **kept,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_INVENTORY_ENABLED": "auto,yaml",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
    }
    return _run([_ansible(), "-i", str(source), "--list"], folder, env)


def _run(argv: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> str:
    return subprocess.run(argv, cwd=folder, env=env, text=True, capture_output=True, check=True).stdout


def _ansible() -> str:
    beside = Path(sys.executable).with_name("ansible-inventory")
    return str(beside) if beside.exists() else shutil.which("ansible-inventory") or "ansible-inventory"


def _first_line(argv: Sequence[str]) -> str:
    return _run(argv, ROOT).splitlines()[0]
