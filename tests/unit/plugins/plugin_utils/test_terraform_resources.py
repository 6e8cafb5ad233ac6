# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""A state without our contract: which instances become hosts, what they are called, what is told about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from plugins.plugin_utils._terraform_contract import Host, TerraformError, build_inventory
from plugins.plugin_utils._terraform_resources import parse_selectors, resource_contract
from plugins.plugin_utils._terraform_state import State, StateMissingError

from .terraform_samples import instance, resource

AWS: dict[str, Any] = {
    "public_ip": "198.51.100.7",
    "private_ip": "10.0.0.7",
    "public_dns": "",
    "availability_zone": "eu-central-1a",
    "instance_type": "t4g.small",
    "tags": {"Name": "web"},
    "user_data": "s3cret",
}


def hosts(resources: list[dict[str, Any]], *entries: dict[str, Any], **options: Any) -> list[Host]:
    selectors = parse_selectors(entries or [{"type": "aws_instance"}])
    contract = resource_contract(State("the state", {}, resources), selectors)
    return list(build_inventory(contract, Path("/project"), **options).hosts)


def test_server_is_a_host_with_its_address() -> None:
    (found,) = hosts(
        [resource(instance("i-1", AWS), name="web")],
        {"type": "aws_instance", "user": "admin", "port": 2222, "groups": ["web"]},
    )
    assert (found.name, found.origin, found.groups) == ("web", "aws_instance.web", ("web",))
    assert found.variables["ansible_host"] == "198.51.100.7"
    assert (found.variables["ansible_user"], found.variables["ansible_port"]) == ("admin", 2222)
    facts = found.variables["terraform_host"]
    assert facts["resource_id"] == "i-1"
    assert facts["placement"]["zone"] == "eu-central-1a"
    assert facts["addresses"]["fqdn"] is None
    assert facts["resource"]["tags"] == {"Name": "web"}
    assert "s3cret" not in str(found)


def test_every_instance_of_count_and_for_each_is_a_host() -> None:
    found = hosts(
        [
            resource(instance("1", index_key=0), instance("2", index_key=1), name="counted"),
            resource(instance("3", index_key="a"), instance("4", index_key="b.example.com"), name="each"),
            resource(instance("5"), name="web", module="module.net"),
            resource(instance("6"), name="web", module='module.net["x"].module.sub[0]'),
            resource(instance("7"), name="web"),
        ]
    )
    assert [host.name for host in found] == [
        "counted-0",
        "counted-1",
        "each-a",
        "each-b.example.com",
        "net-web",
        "net-x-sub-0-web",
        "web",
    ]
    assert found[3].origin == 'aws_instance.each["b.example.com"]'
    assert found[5].origin == 'module.net["x"].module.sub[0].aws_instance.web'


def test_names_that_only_differ_in_what_a_host_name_cannot_hold_stay_two_hosts() -> None:
    found = hosts([resource(instance("1", index_key="a b"), instance("2", index_key="a/b"))])
    assert [host.name for host in found] == ["api-a-b", "api-a-b"]  # the plugin refuses this, or hostname tells apart
    assert [host.origin for host in found] == ['aws_instance.api["a b"]', 'aws_instance.api["a/b"]']


def test_what_the_next_apply_removes_is_no_host() -> None:
    found = hosts([resource(instance("1", status="tainted"), instance("2", deposed="x"), instance("3", index_key=2))])
    assert [host.name for host in found] == ["api-2"]


def test_first_entry_that_matches_decides() -> None:
    resources = [
        resource(instance("1"), name="db"),
        resource(instance("2"), name="web", module="module.net"),
        resource(instance("3"), type="aws_eip"),
        resource(instance("4"), mode="data", name="old"),
    ]
    found = hosts(
        resources,
        {"type": "aws_instance", "name": "d*", "groups": ["db"]},
        {"type": "aws_*", "module": "module.*", "groups": ["net"]},
        {"type": "data.aws_instance", "groups": ["old"]},
    )
    assert [(host.name, host.groups) for host in found] == [("db", ("db",)), ("net-web", ("net",)), ("old", ("old",))]


def test_addresses_of_an_unknown_type_are_named_by_path() -> None:
    attributes = {"nics": [{"ip": "10.0.0.1"}], "fqdn": "a.example.com"}
    (found,) = hosts(
        [resource(instance("1", attributes), type="my_vm")],
        {"type": "my_vm", "addresses": {"private_ipv4": "nics.0.ip", "fqdn": "fqdn"}, "attributes": ["fqdn", "none"]},
        connect_with=["public_ipv4", "private_ipv4"],
    )
    assert found.variables["ansible_host"] == "10.0.0.1"
    assert found.variables["terraform_host"]["resource"]["attributes"] == {"fqdn": "a.example.com", "none": None}


def test_server_without_an_address_is_left_to_compose() -> None:
    (found,) = hosts([resource(instance("1"), type="my_vm")], {"type": "my_vm"})
    assert set(found.variables) == {"terraform_host"}


def test_sensitive_attributes_are_not_told() -> None:
    sensitive = [[{"type": "get_attr", "value": "tags"}, {"type": "index", "value": "x"}]]
    resources = [resource(instance("1", AWS, sensitive_attributes=sensitive))]
    (found,) = hosts(resources)
    assert found.variables["terraform_host"]["resource"]["tags"] is None
    with pytest.raises(TerraformError, match=r"attribute 'tags' of aws_instance\.api is sensitive"):
        hosts(resources, {"type": "aws_instance", "attributes": ["tags"]})


def test_address_that_ssh_would_take_for_an_option_is_refused() -> None:
    with pytest.raises(TerraformError, match=r"public_ipv4 of aws_instance\.api is '-oProxy.* not an address"):
        hosts([resource(instance("1", {"public_ip": "-oProxyCommand=x"}))])


def test_nothing_that_matches_is_missing() -> None:
    with pytest.raises(StateMissingError, match=r"resources \(aws_instance\); it has: aws_eip, data\.aws_ami"):
        hosts([resource(type="aws_eip"), resource(type="aws_ami", mode="data")])


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({}, "not a dictionary with a type"),
        ("aws_instance", "not a dictionary with a type"),
        ({"type": "a", "adresses": {}}, "unknown keys: adresses"),
        ({"type": "a", "addresses": {"ipv4": "x"}}, "addresses is not a dictionary of public_ipv4"),
        ({"type": "a", "groups": "web"}, "groups is not a list"),
        ({"type": "a", "groups": ["a-b"]}, "'a-b' is not the name of a group"),
        ({"type": "a", "attributes": [1]}, "attributes is not a list"),
        ({"type": "a", "port": "22"}, "not a whole number"),
        ({"type": "a", "port": 70000}, "from 1 to 65535"),
        ({"type": "a", "user": "-l"}, "not the name of a user"),
    ],
)
def test_wrong_entry_is_named(entry: object, says: str) -> None:
    with pytest.raises(TerraformError, match=r"^resources\[1\]") as caught:
        parse_selectors([{"type": "x"}, entry])
    assert says in str(caught.value)
