# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""What the outputs name is believed only where the resources of the state agree."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.plugin_utils._terraform_contract import check_contract
from plugins.plugin_utils._terraform_stale import dead_hosts, stale_message, without
from plugins.plugin_utils._terraform_state import State

from .terraform_samples import contract, host, instance, resource


def dead(*resources: dict[str, Any]) -> dict[str, str]:
    return dead_hosts(check_contract(contract(api1=host())), State("the state", {}, list(resources)))


@pytest.mark.parametrize(
    "resources",
    [
        [resource(instance("i-1"))],
        [resource(instance("i-0"), instance("i-1"))],
        [resource(instance("i-1", index_key="a"), module='module.x["y"]')],
        [resource(instance("other", {"arn": "i-1"}))],
        [resource(instance("other", {"self_link": "i-1"}))],
        [resource(instance("i-1"), mode="data")],
        [resource({"attributes_flat": {"id": "i-1"}})],
        # made anew before the old one of the same name is destroyed
        [resource(instance("i-1"), instance("i-1", deposed="ab12"))],
    ],
)
def test_host_on_a_live_resource_is_believed(resources: list[dict[str, Any]]) -> None:
    assert dead(*resources) == {}


@pytest.mark.parametrize(
    ("resources", "why"),
    [
        ([], "i-1 is not in the state"),
        ([resource()], "i-1 is not in the state"),
        ([resource(instance("i-2"))], "i-1 is not in the state"),
        # what merely points at the server outlives it in the state
        ([resource(instance("eip-1", {"instance_id": "i-1", "instance": "i-1"}), type="aws_eip")], "not in the state"),
        ([resource(instance("i-1", status="tainted"))], "tainted: the next apply replaces it"),
        ([resource(instance("i-1", deposed="ab12"), instance("i-2"))], "deposed: the next apply destroys it"),
        ([resource(instance("i-1", status="tainted")), resource(instance("i-1"), mode="data")], "tainted"),
        ([resource({"attributes": None}), resource({})], "not in the state"),
    ],
)
def test_host_on_a_resource_that_is_gone_or_goes_is_not(resources: list[dict[str, Any]], why: str) -> None:
    found = dead(*resources)
    assert list(found) == ["api1"]
    assert why in found["api1"]


def test_half_failed_replacement_leaves_the_living() -> None:
    value = contract(**{f"api{number}": {**host(), "resource_id": f"i-{number}"} for number in range(1, 4)})
    state = State("the state", {}, [resource(instance("i-1"), instance("i-3"))])
    found = dead_hosts(check_contract(value), state)
    assert list(found) == ["api2"]
    assert list(without(check_contract(value), found)["hosts"]) == ["api1", "api3"]


def test_host_without_a_resource_is_believed() -> None:
    value = contract(api1={**host(), "resource_id": None})
    assert dead_hosts(check_contract(value), State("the state", {}, [])) == {}


def test_message_names_hosts_and_stays_short() -> None:
    message = stale_message({f"api{number}": "i is gone" for number in range(500)}, "out", "the state")
    assert "still names api0 (i is gone), api1 (" in message
    assert message.endswith("and 490 more.")
    assert len(message) < 400
