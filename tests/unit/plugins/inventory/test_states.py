# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""What the plugin does about states that are stale, missing, locked or not readable."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ..plugin_utils.terraform_samples import contract, host, instance, resource, state
from .inventory_folder import Inventory, names, squeezed


def with_resources(*identities: str) -> dict[str, Any]:
    """A contract of three servers, api1 to api3, and a state in which these are live."""
    value = contract(**{f"api{number}": {**host(), "resource_id": f"i-{number}"} for number in (1, 2, 3)})
    return state(value, resources=[resource(*(instance(identity) for identity in identities))])


def test_stale_outputs_are_refused(inventory: Inventory) -> None:
    inventory.write_state(with_resources("i-1", "i-3"))
    message = inventory.error()
    assert squeezed("is stale, it still names api2 (i-2 is not in the state).") in message
    assert squeezed("Run 'terraform apply' again") in message


def test_stale_hosts_are_left_out_or_believed_on_demand(inventory: Inventory) -> None:
    inventory.write_state(with_resources("i-1", "i-3"))
    inventory.configure(on_stale="skip")
    listed, warnings = inventory.list_with_warnings()
    assert names(listed) == ["api1", "api3"]
    assert squeezed("still names api2 (i-2 is not in the state). They are left out.") in warnings
    inventory.configure(on_stale="ignore")
    listed, warnings = inventory.list_with_warnings()
    assert names(listed) == ["api1", "api2", "api3"]
    assert warnings == ""


@pytest.mark.parametrize(
    "content",
    [None, "", state(outputs={}, resources=[]), state(outputs={"other": {"value": 1}})],
    ids=["no state", "empty file", "empty state", "no such output"],
)
def test_nothing_there_is_an_error_a_warning_or_no_hosts(inventory: Inventory, content: Any) -> None:
    path = inventory.folder / "terraform.tfstate"
    path.unlink()
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    assert "on_missing" in inventory.error()
    inventory.configure(on_missing="warn")
    listed, warnings = inventory.list_with_warnings()
    assert names(listed) == []
    assert squeezed(str(path)) in warnings
    inventory.configure(on_missing="ignore")
    listed, warnings = inventory.list_with_warnings()
    assert names(listed) == []
    assert "tfstate" not in warnings


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"version": 4, "outp', "cut short"),
        ({"version": 3, "terraform_version": "0.11.14"}, "format 3"),
        ({"version": 5, "terraform_version": "3.0.0"}, "format 5"),
        ({"encrypted_data": "x"}, "is encrypted"),
        (state(outputs={"ansible_inventory": {"value": 1, "sensitive": True}}), "is sensitive"),
    ],
)
def test_state_that_cannot_be_read_is_never_taken_for_nothing(inventory: Inventory, content: Any, says: str) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (inventory.folder / "terraform.tfstate").write_text(text, encoding="utf-8")
    inventory.configure(on_missing="ignore", on_stale="skip", on_lock="ignore")
    assert squeezed(says) in inventory.error()


def test_locked_state_is_an_error_a_warning_or_read(inventory: Inventory) -> None:
    lock = inventory.folder / ".terraform.tfstate.lock.info"
    lock.write_text(json.dumps({"Operation": "OperationTypeApply", "Who": "anna@desk", "Created": "now"}))
    message = inventory.error()
    assert squeezed("is locked by anna@desk (apply since now)") in message
    assert squeezed(f"remove {lock}") in message
    inventory.configure(on_lock="warn")
    listed, warnings = inventory.list_with_warnings()
    assert names(listed) == ["api1"]
    assert squeezed("is locked by anna@desk") in warnings
    inventory.configure(on_lock="ignore")
    listed, warnings = inventory.list_with_warnings()
    assert names(listed) == ["api1"]
    assert "locked" not in warnings
