# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""Whatever is planted in a state stays text, on every ansible-core."""

from __future__ import annotations

import json

from ..plugin_utils.terraform_samples import contract, host, instance, resource, state
from .inventory_folder import Inventory, asked

PLANTED = "{{ 7*7 }}"


def test_planted_template_stays_text(inventory: Inventory) -> None:
    planted = "{{ 7*7 }}"
    value = contract(api1=host(type="local", address=None))
    value["hosts"]["api1"]["vars"] = {"flat": planted, "nested": {"list": [planted]}}
    value["hosts"]["api1"]["placement"]["zone"] = planted
    value["groups"]["billing"]["vars"] = {"grouped": planted}
    inventory.write_state(state(value))
    inventory.configure(strict=True, compose={"composed": "terraform_host.placement.zone"})
    message = "{{ [flat, nested.list.0, terraform_host.placement.zone, grouped, composed] | join(' ') }}"
    done = inventory.run("ansible", "api1", "-m", "ansible.builtin.debug", "-a", json.dumps({"msg": message}))
    assert done.returncode == 0, done.stderr
    assert " ".join([planted] * 5) in done.stdout
    assert "49" not in done.stdout


def test_template_in_a_cached_answer_stays_text(inventory: Inventory) -> None:
    value = contract()
    value["hosts"]["api1"]["vars"] = {"planted": "{{ 7*7 }}"}
    asked(inventory, state(value))
    inventory.configure(
        state_file=None,
        project_path="project",
        binary=str(inventory.folder / "terraform"),
        cache=True,
        cache_plugin="ansible.builtin.jsonfile",
        cache_connection=str(inventory.folder / "cache"),
        strict=True,
        compose={"composed": "planted"},
    )
    for _round in range(2):
        variables = inventory.list()["_meta"]["hostvars"]["api1"]
        assert variables["planted"] == variables["composed"] == "{{ 7*7 }}"


def test_planted_template_in_any_attribute_stays_text(inventory: Inventory) -> None:
    attributes = {
        "public_ip": "localhost",
        "availability_zone": PLANTED,
        "ami": "{% set x = 1 %}{{ x }}",
        "instance_type": "{{ lookup('ansible.builtin.pipe', 'echo 4'+'9') }}",
        "tags": {"Name": PLANTED, PLANTED: "key"},
        "list": [PLANTED, {"deep": PLANTED}],
    }
    # a key of for_each may hold one as well, and ends up in the address of the resource
    inventory.write_state(state(outputs={}, resources=[resource(instance("i-1", attributes, index_key=PLANTED))]))
    inventory.configure(
        resources=[{"type": "aws_instance", "attributes": ["list"]}],
        strict=True,
        hostname="'api1'",
        filters=["terraform_host.placement.zone != '49'", "terraform_host.resource.tags.Name == '{{ 7' ~ '*7 }}'"],
        compose={"composed": "terraform_host.resource.tags.Name"},
    )
    text = """{{ [terraform_host.placement.zone, terraform_host.placement.image, terraform_host.placement.type,
        terraform_host.resource.tags.Name, terraform_host.resource.attributes.list.0, composed,
        terraform_host.resource.attributes.list.1.deep, terraform_host.resource.key,
        terraform_host.resource.address] | join(' ') }}"""
    done = inventory.run("ansible", "api1", "-m", "ansible.builtin.debug", "-a", json.dumps({"msg": text}))
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout.partition("=>")[2])["msg"]
    assert said.count(PLANTED) == 7
    assert "{% set x = 1 %}{{ x }}" in said
    assert "lookup('ansible.builtin.pipe'" in said
    assert "49" not in said


def test_planted_template_in_every_string_of_the_contract_stays_text(inventory: Inventory) -> None:
    value = contract(api1=host(type="local", address=None))
    value["project"]["environment"] = PLANTED
    one = value["hosts"]["api1"]
    for part in ("addresses", "placement"):
        one[part] = dict.fromkeys(one[part], PLANTED)
    one["volumes"] = {PLANTED: {"id": PLANTED, "device": PLANTED, "mount": PLANTED}}
    one["vars"] = {"ansible_remote_tmp": "/tmp/{{ 7*7 }}", "planted": {PLANTED: [PLANTED]}}
    inventory.write_state(state(value))
    text = "{{ (terraform_host | to_json) ~ (planted | to_json) }}"
    done = inventory.run("ansible", "api1", "-m", "ansible.builtin.debug", "-a", json.dumps({"msg": text}))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(PLANTED) == 4 + 5 + 1 + 4 + 2
    assert "49" not in done.stdout
