# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from plugins.plugin_utils._terraform_contract import (
    Host,
    Inventory,
    TerraformError,
    build_inventory,
    check_contract,
    connection_variables,
)

from .terraform_samples import ED25519, RSA, contract, host

BASE = Path("/project")


def built(value: dict[str, Any]) -> Inventory:
    return build_inventory(check_contract(value), BASE)


def only_host(value: dict[str, Any]) -> Host:
    (found,) = built(value).hosts
    return found


def ssh_options(variables: Any) -> dict[str, str]:
    words = shlex.split(variables["ansible_ssh_common_args"])
    assert words[::2] == ["-o"] * (len(words) // 2)
    return dict(word.split("=", 1) for word in words[1::2])


def test_contract_data_is_one_host_variable() -> None:
    found = only_host(contract(api1=host()))
    assert found.name == "api1"
    assert found.groups == ("billing",)
    assert set(found.variables) == {"ansible_connection", "ansible_host", "terraform_host"}
    facts = found.variables["terraform_host"]
    assert set(facts) == {"resource_id", "connection", "addresses", "placement", "volumes", "project"}
    assert facts["placement"]["zone"] == "eu-1a"
    assert facts["project"]["environment"] == "staging"


def test_vars_of_a_host_win_over_its_connection() -> None:
    given = host(user="admin")
    given["vars"] = {"ansible_user": "deploy", "api_replicas": 2}
    variables = only_host(contract(api1=given)).variables
    assert variables["ansible_user"] == "deploy"
    assert variables["api_replicas"] == 2


def test_group_that_only_a_host_or_a_parent_names_exists() -> None:
    value = contract(api1=host())
    value["hosts"]["api1"]["groups"] = ["edge"]
    value["groups"] = {"servers": {"vars": {"x": 1}, "children": ["leaf"]}}
    groups = {group.name: group for group in built(value).groups}
    assert set(groups) == {"servers", "edge", "leaf"}
    assert groups["servers"].children == ("leaf",)
    assert groups["servers"].variables == {"x": 1}


def test_keys_beyond_the_contract_are_left_alone() -> None:
    value = contract(api1=host())
    value["comment"] = value["hosts"]["api1"]["comment"] = "more"
    assert only_host(value).name == "api1"


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        (
            {"port": 2222, "user": "admin"},
            {
                "ansible_connection": "ssh",
                "ansible_host": "192.0.2.10",
                "ansible_port": 2222,
                "ansible_user": "admin",
            },
        ),
        ({}, {"ansible_connection": "ssh", "ansible_host": "192.0.2.10"}),
        ({"type": "local", "address": None}, {"ansible_connection": "local"}),
        (
            {"type": "docker", "address": "box-1", "user": "root"},
            {"ansible_connection": "community.docker.docker", "ansible_host": "box-1", "ansible_user": "root"},
        ),
        ({"type": "none"}, {}),
    ],
)
def test_connection_type_becomes_ansible_variables(connection: dict[str, Any], expected: dict[str, Any]) -> None:
    assert connection_variables(host(**connection)["connection"], BASE) == expected


def test_host_keys_reach_ssh_without_a_file() -> None:
    variables = connection_variables(host(host_keys=[f"{ED25519} root@api1", RSA])["connection"], BASE)
    options = ssh_options(variables)
    assert options["StrictHostKeyChecking"] == "yes"
    assert options["UserKnownHostsFile"] == '"/dev/null"'
    assert options["GlobalKnownHostsFile"] == "/dev/null"
    assert options["KnownHostsCommand"] == rf'/usr/bin/printf "%%s %%s %%s\n" %H {ED25519} %H {RSA}'


def test_relative_files_start_from_the_project() -> None:
    paths = {"private_key_file": "ssh/id_ed25519", "known_hosts_file": "my hosts/100%"}
    variables = connection_variables(host(options=paths)["connection"], BASE)
    assert variables["ansible_ssh_private_key_file"] == "/project/ssh/id_ed25519"
    assert ssh_options(variables) == {
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "yes",
        "GlobalKnownHostsFile": "/dev/null",
        "UserKnownHostsFile": '"/project/my hosts/100%%"',
    }


def test_absolute_files_and_home_are_kept() -> None:
    paths = {"private_key_file": "/keys/id", "known_hosts_file": "~/known_hosts"}
    variables = connection_variables(host(options=paths)["connection"], BASE)
    assert variables["ansible_ssh_private_key_file"] == "/keys/id"
    assert ssh_options(variables)["UserKnownHostsFile"] == f'"{Path.home()}/known_hosts"'


def test_without_host_keys_the_users_ssh_configuration_decides() -> None:
    assert "ansible_ssh_common_args" not in connection_variables(host()["connection"], BASE)


def test_unknown_version_names_both_versions() -> None:
    with pytest.raises(TerraformError, match="version 7 of the contract; this plugin reads version 1"):
        check_contract({**contract(), "version": 7})


@pytest.mark.parametrize("value", [None, [], "text", {}, {"hosts": {}}])
def test_output_of_something_else_is_refused(value: object) -> None:
    with pytest.raises(TerraformError, match="not an inventory contract"):
        check_contract(value)


@pytest.mark.parametrize("key", ["project", "hosts", "groups"])
def test_missing_top_level_key_is_named(key: str) -> None:
    value = contract()
    del value[key]
    with pytest.raises(TerraformError, match=f"at {key}: the key is missing"):
        check_contract(value)


@pytest.mark.parametrize("key", sorted(host()))
def test_missing_host_key_is_named(key: str) -> None:
    value = contract(api1=host())
    del value["hosts"]["api1"][key]
    with pytest.raises(TerraformError, match=rf"at hosts\.api1\.{key}: the key is missing"):
        check_contract(value)


@pytest.mark.parametrize("key", sorted(host()["connection"]))
def test_missing_connection_key_is_named(key: str) -> None:
    value = contract(api1=host())
    del value["hosts"]["api1"]["connection"][key]
    with pytest.raises(TerraformError, match=rf"at hosts\.api1\.connection\.{key}: the key is missing"):
        check_contract(value)


@pytest.mark.parametrize(
    ("connection", "place"),
    [
        ({"type": "winrm"}, "connection.type"),
        ({"address": None}, "connection.address"),
        ({"type": "docker", "address": None}, "connection.address"),
        ({"address": "-oProxyCommand=touch x"}, "connection.address"),
        ({"address": 5}, "connection.address"),
        ({"user": "-l root"}, "connection.user"),
        ({"port": 0}, "connection.port"),
        ({"port": 65536}, "connection.port"),
        ({"port": True}, "connection.port"),
        ({"port": "22"}, "connection.port"),
        ({"host_keys": ["192.0.2.10 ssh-ed25519 AAAA"]}, "connection.host_keys[0]"),
        ({"host_keys": [ED25519, f"{RSA} x\n{ED25519}"]}, "connection.host_keys[1]"),
        ({"host_keys": ["ssh-rsa AAAA;touch"]}, "connection.host_keys[0]"),
        ({"options": {"proxy": "x"}}, "connection.options"),
        ({"options": {"known_hosts_file": 'x" ProxyCommand="y'}}, "connection.options.known_hosts_file"),
        ({"options": {"private_key_file": None}}, "connection.options.private_key_file"),
    ],
)
def test_wrong_connection_is_named(connection: dict[str, Any], place: str) -> None:
    with pytest.raises(TerraformError) as caught:
        check_contract(contract(api1=host(**connection)))
    assert f"at hosts.api1.{place}: " in str(caught.value)


@pytest.mark.parametrize("name", ["", "api[1:3]", "a b", "-api", "api,db", "{{ x }}"])
def test_host_name_that_ansible_would_misread_is_refused(name: str) -> None:
    with pytest.raises(TerraformError, match="at hosts: "):
        check_contract(contract(**{name: host()}))


@pytest.mark.parametrize("name", ["my-group", "1st", "Web", "{{ x }}"])
def test_group_name_that_ansible_would_change_is_refused(name: str) -> None:
    value = contract(api1=host())
    value["hosts"]["api1"]["groups"] = [name]
    with pytest.raises(TerraformError, match=r"at hosts\.api1\.groups: "):
        check_contract(value)


def test_long_wrong_values_are_shortened() -> None:
    with pytest.raises(TerraformError) as caught:
        check_contract(contract(api1=host(type="x" * 5000)))
    assert len(str(caught.value)) < 400
