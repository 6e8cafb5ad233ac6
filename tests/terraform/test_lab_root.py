# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""terraform/lab, applied for real, with a stand-in for the lab."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import REPOSITORY, LabRoot, inventory, new_lab_root


def test_apply_adds_the_hosts_and_a_second_plan_is_empty(lab_root: LabRoot) -> None:
    assert sorted(lab_root.apply()) == [
        f"{REPOSITORY}: --name fake host add api1 --address 10.9.8.11",
        f"{REPOSITORY}: --name fake host add api2 --address 10.9.8.12",
    ]
    assert not lab_root.changes_planned()


def test_inventory_follows_the_state(lab_root: LabRoot) -> None:
    lab_root.apply()
    graph = inventory(lab_root.folder, "--graph")
    assert graph.returncode == 0, graph.stderr
    assert [line.strip(" |-") for line in graph.stdout.splitlines()] == [
        "@all:",
        "@ungrouped:",
        "@billing:",
        "api1",
        "api2",
    ]
    variables = json.loads(inventory(lab_root.folder, "--host", "api1").stdout)
    assert variables["ansible_host"] == "10.9.8.11"
    assert variables["ansible_user"] == "root"
    assert variables["ansible_ssh_private_key_file"] == str(lab_root.folder / "ssh" / "id_ed25519")
    assert "%H ssh-ed25519 AAAA" in variables["ansible_ssh_common_args"]
    assert variables["terraform_host"]["volumes"]["data"]["mount"] == "/srv/billing"


def test_new_generation_of_a_host_replaces_only_that_host(lab_root: LabRoot) -> None:
    lab_root.apply()
    hosts = lab_root.variables()["hosts"]
    hosts["api2"]["generation"] = 2
    assert lab_root.apply(hosts=hosts) == [
        f"{REPOSITORY}: --name fake host remove api2",
        f"{REPOSITORY}: --name fake host add api2 --address 10.9.8.12",
    ]


def test_new_generation_of_the_root_replaces_every_host(lab_root: LabRoot) -> None:
    lab_root.apply()
    calls = [call.split(": --name fake host ")[1].split()[:2] for call in lab_root.apply(generation=2)]
    assert sorted(calls) == [["add", "api1"], ["add", "api2"], ["remove", "api1"], ["remove", "api2"]]
    assert not lab_root.changes_planned(generation=2)


def test_other_paths_replace_no_host(lab_root: LabRoot) -> None:
    lab_root.apply()
    assert lab_root.apply(ssh_private_key_file="other/key", known_hosts_file=None) == []


def test_destroy_removes_the_hosts_and_the_inventory_says_so(lab_root: LabRoot) -> None:
    lab_root.apply()
    assert sorted(lab_root.apply("destroy")) == [
        f"{REPOSITORY}: --name fake host remove api1",
        f"{REPOSITORY}: --name fake host remove api2",
    ]
    done = inventory(lab_root.folder, "--list")
    assert done.returncode != 0
    assert "is empty: nothing is applied, or everything was destroyed" in " ".join(done.stderr.split())


def test_labs_live_side_by_side_on_one_root(terraform_binary: str, tmp_path: Path) -> None:
    first = new_lab_root(terraform_binary, tmp_path / "first")
    second = new_lab_root(terraform_binary, tmp_path / "second")
    first.apply(lab_name="first")
    second.apply(lab_name="second")
    assert not first.changes_planned(lab_name="first")
    assert len(first.apply("destroy", lab_name="first")) == 2
    assert not second.changes_planned(lab_name="second")


def test_state_flag_works_too(terraform_binary: str, tmp_path: Path) -> None:
    lab_root = new_lab_root(terraform_binary, tmp_path)
    variables = tmp_path / "terraform.tfvars.json"
    variables.write_text(json.dumps(lab_root.variables()), encoding="utf-8")
    state = tmp_path / "elsewhere" / "terraform.tfstate"
    lab_root.terraform.run("apply", "-auto-approve", f"-state={state}", f"-var-file={variables}")
    assert json.loads(state.read_text(encoding="utf-8"))["outputs"]["ansible_inventory"]["value"]["version"] == 1
    assert not (tmp_path / "terraform.tfstate").exists()


def test_unreadable_address_is_refused_before_a_host_is_made(lab_root: LabRoot) -> None:
    path = lab_root.folder / "bad.tfvars.json"
    bad = lab_root.variables(hosts={"api1": {"address": "-oProxyCommand=true"}})
    path.write_text(json.dumps(bad), encoding="utf-8")
    done = lab_root.terraform.run("apply", "-auto-approve", f"-var-file={path}", ok=(1,))
    assert "connection.address is required for ssh" in " ".join(done.stderr.replace("│", " ").split())
    assert not (lab_root.folder / "calls").exists()
