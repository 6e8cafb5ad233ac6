# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""A contract and a state around it, fresh on every call."""

from __future__ import annotations

from typing import Any

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJbq"
RSA = "ssh-rsa AAAAB3NzaC1yc2E="


def host(**connection: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "type": "ssh",
        "address": "192.0.2.10",
        "port": None,
        "user": None,
        "host_keys": [],
        "options": {},
    }
    return {
        "resource_id": "i-1",
        "connection": {**base, **connection},
        "addresses": {"public_ipv4": "192.0.2.10", "public_ipv6": None, "private_ipv4": None, "fqdn": None},
        "placement": {"region": "eu", "zone": "eu-1a", "type": None, "arch": None, "image": None},
        "volumes": {"data": {"id": "vol-1", "device": None, "mount": "/srv/billing"}},
        "groups": ["billing"],
        "vars": {},
    }


def contract(**hosts: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": 1,
        "project": {"name": "billing", "environment": "staging", "provider": "aws", "region": "eu"},
        "hosts": hosts or {"api1": host()},
        "groups": {"billing": {"vars": {}, "children": []}},
    }


def state(value: Any = None, **overrides: Any) -> dict[str, Any]:
    return {
        "version": 4,
        "terraform_version": "1.11.4",
        "serial": 3,
        "lineage": "8b1f",
        "outputs": {"ansible_inventory": {"value": value if value is not None else contract(), "type": "dynamic"}},
        "resources": [resource(instance("i-1"))],
        **overrides,
    }


def resource(*instances: dict[str, Any], **overrides: Any) -> dict[str, Any]:
    """A resource as it is in a state; without instances it was destroyed."""
    base = {"mode": "managed", "type": "aws_instance", "name": "api", "instances": list(instances)}
    return {**base, **overrides}


def instance(identity: str, attributes: dict[str, Any] | None = None, **overrides: Any) -> dict[str, Any]:
    return {"schema_version": 1, "attributes": {"id": identity, **(attributes or {})}, **overrides}
