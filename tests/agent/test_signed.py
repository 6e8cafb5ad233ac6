# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""With api_image_policy: signed only what carries our signature runs; all else is refused before it is pulled, once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.conftest import UnderLoad
from tests.agent.watched import Watched
from tests.faults.site import FIRST
from tests.lab.sign import ensure_signing_key, sign

_REPOSITORY = "billing-api"
pytestmark = pytest.mark.fault("signature")


def publish_signed(site: Watched, key: Path) -> str:
    """Push under a tag that nobody follows, sign, then move the tag that is followed; return the digest."""
    digest = site.digest(site.push("candidate"))
    client = site.lab.registry.client
    sign(site.lab.registry, _REPOSITORY, digest, key)
    manifest = client.manifest(_REPOSITORY, "candidate")
    assert manifest
    client.put_manifest(_REPOSITORY, FIRST, manifest)
    site.moved(digest)
    return digest


@pytest.fixture(scope="module")
def key(site: Watched) -> Iterator[Path]:
    """The private key, on a server that accepts nothing else."""
    site.restore()
    private, public = ensure_signing_key(site.lab.dir)
    publish_signed(site, private)
    site.playbooks.run(
        "deploy_compose.yml", variables={"api_image_policy": "signed", "api_image_public_key": public}
    ).ok()
    site.stop_timer()
    yield private
    site.playbooks.run("deploy_compose.yml").ok()
    site.stop_timer()


def test_what_we_signed_is_rolled_out(site: Watched, under_load: UnderLoad, key: Path) -> None:
    with under_load("no fault: a signed image") as case:
        digest = publish_signed(site, key)
        assert site.look() == "success"
        site.one_release(digest)
        case.wanted = site.good


@pytest.mark.parametrize(("name", "code"), [("unsigned", "signature_missing"), ("another key", "signature_invalid")])
def test_anything_else_is_refused_once_and_never_pulled(
    site: Watched, under_load: UnderLoad, key: Path, name: str, code: str
) -> None:
    with under_load(f"agent, image: signature {name}") as case:
        before, count, told = site.live_image(), len(site.history()), len(site.receiver.got)
        other, _public = ensure_signing_key(site.lab.dir, "other")
        digest = site.publish() if name == "unsigned" else publish_signed(site, other)
        for _run in range(11):
            assert site.look() == "success"
        assert [(one["outcome"], one["failure"]) for one in site.history()[count:]] == [("rejected", code)]
        assert [one["failure"] for one in site.receiver.got[told:] if one["after"]["digest"] == digest] == [code]
        assert site.live_image() == before
        assert digest in json.loads(site.command("status", "--json"))["services"]["api"]["quarantined"]
        assert digest not in site.remote.sh("docker image ls --digests")
        publish_signed(site, key)
        case.wanted = site.good
