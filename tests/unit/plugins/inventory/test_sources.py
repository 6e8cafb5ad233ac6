# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""Where the state comes from: a file, a workspace, a backend, a command, the cache."""

from __future__ import annotations

import json

from ..plugin_utils.terraform_samples import contract, host, instance, resource, state
from .inventory_folder import Inventory, asked, names, squeezed


def test_local_state_of_a_workspace_needs_no_terraform(inventory: Inventory) -> None:
    folder = inventory.folder / "terraform.tfstate.d" / "prod"
    folder.mkdir(parents=True)
    (folder / "terraform.tfstate").write_text(json.dumps(state(contract(prod1=host()))), encoding="utf-8")
    inventory.configure(state_file=None, project_path=".", source="state", workspace="prod", binary="/nowhere")
    assert names(inventory.list()) == ["prod1"]
    inventory.configure(state_file=None, project_path=".", binary="/nowhere")
    assert names(inventory.list()) == ["api1"]
    inventory.env["TF_WORKSPACE"] = "prod"
    assert names(inventory.list()) == ["prod1"]


def test_command_is_asked_even_beside_a_local_state(inventory: Inventory) -> None:
    asked(inventory, state(contract(api7=host())))
    (inventory.folder / "project" / "terraform.tfstate").write_text(json.dumps(state()), encoding="utf-8")
    options = {"state_file": None, "project_path": "project", "binary": str(inventory.folder / "terraform")}
    inventory.configure(**options)
    assert names(inventory.list()) == ["api1"]
    inventory.configure(**options, source="command")
    assert names(inventory.list()) == ["api7"]
    inventory.configure(**options, source="command", workspace="prdo")
    assert squeezed("There is no workspace 'prdo'") in inventory.error()


def test_remote_backend_is_asked_and_never_read(inventory: Inventory) -> None:
    asked(inventory, state(contract(api7=host())))
    project = inventory.folder / "project"
    (project / "terraform.tfstate").write_text(json.dumps(state()), encoding="utf-8")  # a leftover
    (project / ".terraform").mkdir()
    (project / ".terraform" / "terraform.tfstate").write_text(json.dumps({"backend": {"type": "s3", "config": {}}}))
    options = {"state_file": None, "project_path": "project", "binary": str(inventory.folder / "terraform")}
    inventory.configure(**options)
    assert names(inventory.list()) == ["api7"]
    inventory.configure(**options, source="state")
    assert squeezed("has no local state file: its backend 's3' is remote. Set source") in inventory.error()


def test_encrypted_state_of_a_project_is_decrypted_by_tofu(inventory: Inventory) -> None:
    asked(inventory, state(contract(api7=host())), name="tofu")
    encrypted = json.dumps({"encrypted_data": "x", "encryption_version": "v0", "serial": 1})
    (inventory.folder / "project" / "terraform.tfstate").write_text(encrypted, encoding="utf-8")
    inventory.configure(state_file=None, project_path="project")
    inventory.env["PATH"] = f"{inventory.folder}:{inventory.env['PATH']}"
    assert names(inventory.list()) == ["api7"]


def test_outputs_alone_are_asked_for_when_resources_do_not_matter(inventory: Inventory) -> None:
    asked(inventory, state(contract(api7=host()), resources=[]))
    options = {"state_file": None, "project_path": "project", "binary": str(inventory.folder / "terraform")}
    inventory.configure(**options)
    assert squeezed("is stale") in inventory.error()
    inventory.configure(**options, on_stale="ignore")
    assert names(inventory.list()) == ["api7"]
    assert (inventory.folder / "calls").read_text(encoding="utf-8").split("\n") == ["called state", "called output", ""]


def test_cached_answer_holds_no_more_of_the_state_than_the_hosts(inventory: Inventory) -> None:
    secret = resource(instance("i-1", {"password": "s3cret"}))
    asked(inventory, state(resources=[secret]))
    inventory.configure(
        state_file=None,
        project_path="project",
        binary=str(inventory.folder / "terraform"),
        cache=True,
        cache_plugin="ansible.builtin.jsonfile",
        cache_connection=str(inventory.folder / "cache"),
    )
    assert names(inventory.list()) == ["api1"]
    kept = [path.read_text(encoding="utf-8") for path in (inventory.folder / "cache").iterdir()]
    assert len(kept) == 1
    assert "192.0.2.10" in kept[0]
    assert "s3cret" not in kept[0]
