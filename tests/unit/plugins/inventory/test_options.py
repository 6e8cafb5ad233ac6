# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""Hosts filtered, renamed, connected to and made of resources as the configuration says."""

from __future__ import annotations

from typing import Any

import pytest

from ..plugin_utils.terraform_samples import contract, host, instance, resource, state
from .inventory_folder import Inventory, names, squeezed


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"source": "command"}, "source needs project_path"),
        ({"workspace": "prod"}, "workspace needs project_path"),
        ({"connect_with": ["fqdn"]}, "api1 has none of the addresses of connect_with (fqdn); it has: public_ipv4"),
        ({"hostname": "nothing.there"}, "hostname 'nothing.there' cannot be evaluated for api1"),
        ({"hostname": "terraform_host.addresses.fqdn"}, "is not a host name for api1"),
        ({"hostname": "'a b'"}, "'a b' is not a host name for api1"),
        ({"filters": ["nothing.there"]}, "The filter 'nothing.there' cannot be decided for api1"),
        ({"resources": [{"type": "aws_instance", "nam": "x"}]}, "nam"),
    ],
)
def test_wrong_option_is_named(inventory: Inventory, options: dict[str, Any], says: str) -> None:
    inventory.configure(**options)
    message = inventory.error()
    assert squeezed(says) in message
    assert "Traceback" not in message


def test_hosts_are_filtered_renamed_and_connected_to_as_wished(inventory: Inventory) -> None:
    value = contract(api1=host(), api2=host(), api3=host())
    for number, one in enumerate(value["hosts"].values(), start=1):
        one["resource_id"] = "i-1"
        one["addresses"] = {**one["addresses"], "private_ipv4": f"10.0.0.{number}", "fqdn": f"n{number}.example.com"}
        one["vars"] = {"number": number}
    value["groups"]["billing"]["vars"] = {"colour": "blue"}
    inventory.write_state(state(value))
    inventory.configure(
        connect_with=["public_ipv6", "private_ipv4"],
        hostname="tf_terraform_host.addresses.fqdn",
        filters=["tf_number != 2", "inventory_hostname is match('api')"],
        hostvars_prefix="tf_",
        keyed_groups=[{"key": "tf_terraform_host.placement.region", "prefix": "region"}],
        strict=True,
    )
    listed = inventory.list()
    assert listed["billing"]["hosts"] == listed["region_eu"]["hosts"] == ["n1.example.com", "n3.example.com"]
    variables = listed["_meta"]["hostvars"]["n3.example.com"]
    assert set(variables) == {"ansible_connection", "ansible_host", "tf_terraform_host", "tf_number", "tf_colour"}
    assert variables["ansible_host"] == "10.0.0.3"
    assert variables["tf_terraform_host"]["connection"]["address"] == "192.0.2.10"


def test_two_hosts_never_become_one(inventory: Inventory) -> None:
    inventory.write_state(state(contract(api1=host(), api2=host())))
    inventory.configure(hostname="terraform_host.placement.zone")
    assert squeezed("api1 and api2 would both be the host eu-1a") in inventory.error()


def test_instances_of_count_and_for_each_are_hosts_of_their_own(inventory: Inventory) -> None:
    counted = resource(instance("i-1", {"public_ip": "192.0.2.1"}, index_key=0), instance("i-2", index_key=1))
    each = resource(instance("i-3", index_key="a b"), instance("i-4", index_key="a/b"), name="web")
    inventory.write_state(state(outputs={}, resources=[counted]))
    inventory.configure(resources=[{"type": "aws_instance", "groups": ["web"]}])
    listed = inventory.list()
    assert listed["web"]["hosts"] == ["api-0", "api-1"]
    assert listed["_meta"]["hostvars"]["api-0"]["ansible_host"] == "192.0.2.1"
    inventory.write_state(state(outputs={}, resources=[counted, each]))
    assert squeezed("""aws_instance.web["a b"] and aws_instance.web["a/b"] would both be the host web-a-b""") in (
        inventory.error()
    )
    inventory.configure(resources=[{"type": "aws_instance"}], hostname="terraform_host.resource_id")
    assert names(inventory.list()) == ["i-1", "i-2", "i-3", "i-4"]


@pytest.mark.parametrize("name", ["billing", "all", "ungrouped"])
def test_host_is_never_taken_for_a_group(inventory: Inventory, name: str) -> None:
    inventory.write_state(state(contract(api1=host(), api2=host())))
    inventory.configure(hostname=f"'{name}' if inventory_hostname == 'api2' else inventory_hostname")
    message = inventory.error()
    assert squeezed(f"api2 would be the host {name}, and {name} is a group, too. Set hostname") in message


def test_resource_is_never_taken_for_the_group_of_another(inventory: Inventory) -> None:
    servers = [resource(instance("i-1"), name="web"), resource(instance("i-2"), name="db")]
    inventory.write_state(state(outputs={}, resources=servers))
    inventory.configure(
        resources=[
            {"type": "aws_instance", "name": "web", "groups": ["db"]},
            {"type": "aws_instance", "name": "db", "groups": ["all_db", "backend"]},
        ]
    )
    assert squeezed("aws_instance.db would be the host db, and db is a group, too.") in inventory.error()
    inventory.configure(resources=[{"type": "aws_instance", "groups": ["web"]}])
    assert squeezed("aws_instance.web would be the host web, and web is a group, too.") in inventory.error()


def test_host_is_never_taken_for_a_group_that_is_made_later(inventory: Inventory) -> None:
    inventory.write_state(state(contract(api1=host(), api2=host())))
    inventory.configure(keyed_groups=[{"key": "inventory_hostname | replace('2', '1')", "separator": ""}])
    assert squeezed("api1 would be the host api1, and api1 is a group, too.") in inventory.error()
