# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""A registry that is away or tells nonsense: nothing happens to what runs, and nothing is held against the image."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.conftest import UnderLoad
from tests.faults.site import Site
from tests.lab.faulty_registry import Fault, FaultyRegistry

pytestmark = pytest.mark.fault("registry")
FAULTS = {
    "down": (Fault("down"), {"registry_unreachable"}),
    "answers 401": (Fault("unauthorized"), {"registry_unauthorized"}),
    "answers 429": (Fault("throttled", retry_after=2), {"registry_throttled"}),
    "answers 500": (Fault("error"), {"registry_unreachable"}),
    "hangs": (Fault("hanging"), {"registry_unreachable"}),
    "goes down after the tag": (Fault("down", only=("digest", "blob")), {"registry_unreachable"}),
    "hangs after the tag": (Fault("hanging", only=("blob",)), {"registry_unreachable"}),
    "truncates blobs": (Fault("truncated"), {"registry_unreachable", "digest_mismatch"}),
    "gives another manifest": (Fault("wrong_digest"), {"digest_mismatch"}),
    "has no image for this platform": (Fault("no_platform"), {"platform_missing"}),
}


@pytest.fixture(scope="module")
def registry(site: Site) -> Iterator[FaultyRegistry]:
    """A registry on this machine that the host trusts."""
    with FaultyRegistry.of(site.lab) as made:
        made.trust_on(site.host)
        yield made


@pytest.mark.parametrize("name", FAULTS)
def test_a_registry_that_fails(site: Site, under_load: UnderLoad, registry: FaultyRegistry, name: str) -> None:
    fault, codes = FAULTS[name]
    with under_load(f"registry: {name}") as case:
        image = registry.reference(site.push().rpartition("/")[2])
        registry.fault = fault
        done = site.apply(image)
        registry.fault = Fault()
        assert done.get("failure", {}).get("code") in codes, done
        assert site.live_image() == case.before
        assert site.state()["rollout"] is None
        # The same image is welcome when the registry is well again.
        case.wanted = image


def test_a_tag_that_moves_during_the_pull(site: Site, under_load: UnderLoad, registry: FaultyRegistry) -> None:
    with under_load("registry: moves the tag during the pull") as case:
        first, second = site.push(), site.push()
        digests = (site.digest(first), site.digest(second))
        registry.fault = Fault("moved_tag", digests=digests)
        site.succeed(registry.reference(first.rpartition("/")[2]))
        registry.fault = Fault()
        site.one_release(digests[0])
        case.wanted = site.live_image()


def test_a_rollback_needs_no_registry(site: Site, under_load: UnderLoad) -> None:
    with under_load("rollback while the registry is down") as case:
        site.succeed(site.push())
        site.lab.registry.stop()
        try:
            done = site.drive.run("rollback")
        finally:
            site.lab.registry.start()
        assert "ok" in done, done
        assert site.live_image() == case.before
