# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""A bad image is tried once, however often the timer runs; what serves goes on, and everybody is told once."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from tests.agent.conftest import UnderLoad
from tests.agent.watched import Watched

pytestmark = pytest.mark.fault("image")

_RUNS = 10
# what is wrong with it -> its environment, and the outcomes of requests that it causes itself
BAD: Mapping[str, tuple[Mapping[str, str], tuple[str, ...]]] = {
    "never ready": ({"BILLING_FAULT_NEVER_HEALTHY": "1"}, ()),
    "exits at once": ({"BILLING_PORT": "none"}, ()),
    "dies inside the soak": ({"BILLING_FAULT_DIE_AFTER_SECONDS": "5"}, ("http_502", "http_504")),
    "5xx inside the soak": ({"BILLING_FAULT_ERROR_RATE": "0.5"}, ("http_500",)),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_image_is_tried_exactly_once(site: Watched, under_load: UnderLoad, fault: str) -> None:
    environment, allowed = BAD[fault]
    with under_load(f"agent, image: {fault}", allowed) as case:
        site.succeed(site.good, intent={"soak": 20.0, "timeout": 10.0})  # What the agent goes by, too.
        before, told, count = site.live_image(), len(site.receiver.got), len(site.history())
        digest = site.publish(**environment)
        for _run in range(1 + _RUNS):
            assert site.look() == "success"
        mine = site.history()[count:]
        assert [one["after"]["digest"] for one in mine if one["kind"] == "rollout"] == [digest]
        told_of_it = [one["outcome"] for one in site.receiver.got[told:] if one["after"]["digest"] == digest]
        assert told_of_it == [mine[0]["outcome"]]
        assert site.live_image() == before
        status = json.loads(site.command("status", "--json"))
        assert status["services"]["api"]["candidate"]["code"] == "quarantined"
        assert any(one["image"].endswith(digest) for one in status["quarantine"])
        assert digest in site.release()["quarantined"]
        site.publish()
        case.wanted = site.good
