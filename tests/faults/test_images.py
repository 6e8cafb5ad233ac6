# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Images that are no good: the release before serves, or serves again, and the image is not tried a second time."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from tests.faults.conftest import UnderLoad
from tests.faults.site import Site, wait_until

pytestmark = pytest.mark.fault("image")
# Enough time to fall in: it ends as soon as the fault is seen.
_LONG_SOAK = {"soak": 30.0}


class Bad(NamedTuple):
    """An image that must be refused: its environment, the intent, the failure's codes, what it does to requests."""

    environment: dict[str, str]
    intent: dict[str, Any]
    codes: tuple[str, ...]
    allowed: tuple[str, ...] = ()


BAD = {
    "exits at once": Bad({"BILLING_PORT": "none"}, {}, ("unhealthy",)),
    "never ready": Bad({"BILLING_FAULT_NEVER_HEALTHY": "1"}, {"timeout": 8.0}, ("unhealthy",)),
    "dies inside the soak": Bad(
        # Its death, or the answers that Nginx gives in its place: whichever is seen first.
        {"BILLING_FAULT_DIE_AFTER_SECONDS": "6"},
        _LONG_SOAK,
        ("unhealthy", "soak_failed"),
        ("http_502", "http_504"),
    ),
    "5xx inside the soak": Bad({"BILLING_FAULT_ERROR_RATE": "0.5"}, _LONG_SOAK, ("soak_failed",), ("http_500",)),
    "migration fails": Bad({"BILLING_FAULT_MIGRATION": "fail"}, {}, ("migration_failed",)),
    "migration hangs": Bad({"BILLING_FAULT_MIGRATION": "hang"}, {"timeout": 8.0}, ("migration_failed",)),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_refused_and_stays_refused(site: Site, under_load: UnderLoad, name: str) -> None:
    bad = BAD[name]
    with under_load(f"image: {name}", allowed=bad.allowed) as case:
        image = site.push(**bad.environment)
        first = site.apply(image, intent=bad.intent)
        assert first.get("failure", {}).get("code") in bad.codes, first
        site.wait_answers(1)
        assert site.live_image() == case.before
        assert site.state()["rollout"] is None
        second = site.apply(image, intent=bad.intent)
        assert second.get("failure", {}).get("code") == "quarantined", second
        # Nothing was begun for an image that is known to be bad.
        assert not set(second["actions"]) & {"pull", "keep"}


def test_a_good_image_is_not_blamed_for_the_bad_one_before_it(site: Site, under_load: UnderLoad) -> None:
    with under_load("image: good, right after one with 5xx in the same slot", allowed=("http_500",)) as case:
        bad = site.apply(site.push(BILLING_FAULT_ERROR_RATE="0.5"), intent=_LONG_SOAK)
        assert bad.get("failure", {}).get("code") == "soak_failed", bad
        case.wanted = site.push()
        site.succeed(case.wanted)


def test_a_release_that_dies_after_its_soak_is_started_again_and_not_rolled_back(
    site: Site, under_load: UnderLoad
) -> None:
    with under_load("image: dies after the soak", allowed=("http_502", "http_504")) as case:
        image = site.push(BILLING_FAULT_DIE_AFTER_SECONDS="15")
        site.succeed(image, intent={"soak": 0.5})

        def restarted() -> bool:
            containers = site.remote.containers().items()
            return any(int(item["RestartCount"]) > 0 for name, item in containers if name.startswith("api-"))

        wait_until(restarted, 60, "Docker did not start it again")
        site.wait_answers(10)
        assert site.live_image().endswith(site.digest(image))
        case.wanted = site.push()


def test_a_release_that_ignores_sigterm_is_stopped_all_the_same(site: Site, under_load: UnderLoad) -> None:
    with under_load("image: ignores SIGTERM") as case:
        site.succeed(site.push(BILLING_FAULT_IGNORE_SIGTERM="1"))
        case.wanted = site.push()
        site.succeed(case.wanted)
