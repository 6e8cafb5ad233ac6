# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What somebody broke by hand is as recorded again after the agent's next run, and is reported."""

from __future__ import annotations

import pytest

from tests.agent.watched import Watched

pytestmark = pytest.mark.fault("drift")

DAMAGE = {
    "stopped": 'docker stop --time 5 "$container"',
    "removed": 'docker rm --force "$container"',
    "upstream": "sed -i 's/10[.]201[.]0[.][0-9]*:8000/10.201.0.99:8000/' /opt/billing/nginx/upstreams/api.conf",
    "release.env": "sed -i '/^API_/d' /opt/billing/release.env",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_drifted_is_brought_back(site: Watched, damage: str) -> None:
    site.restore()
    site.look()
    count, told = len(site.history()), len(site.receiver.got)
    site.remote.sh(f'container="$(docker ps -q --filter name=billing-api-)"\n{DAMAGE[damage]}')
    assert site.look() == "success"
    site.one_release(site.digest(site.good))
    site.wait_answers(10)
    healed = [one["outcome"] for one in site.history()[count:]]
    # The projection is the engine's own scratch paper: to write it anew is no event.
    assert healed == ([] if damage == "release.env" else ["healed"])
    assert [one["outcome"] for one in site.receiver.got[told:]] == healed
    assert site.look() == "success"
    assert len(site.history()) == count + len(healed)


def test_another_image_in_the_live_slot_is_replaced(site: Watched) -> None:
    site.restore()
    other = site.publish()
    image = f"registry.lab:5000/billing-api@{other}"
    site.remote.sh(
        "cd /opt/billing; . ./release.env; live=$(grep -o '\"live\": \"[a-z]*' state/api.json | cut -d '\"' -f 4)\n"
        f"docker pull --quiet {image}\n"
        f'export "API_$(echo $live | tr a-z A-Z)_IMAGE={image}"\n'
        "docker compose up --detach --no-deps --wait api-$live-1"
    )
    site.remote.sh("billing-rollout hold api --reason test")
    try:
        assert site.look() == "success"
        before = site.state()["slots"]
        assert not any(one["image"] == image for one in before.values())
        site.one_release(next(iter(before.values()))["image"].rpartition("@")[2])
    finally:
        site.remote.sh("billing-rollout resume api")
    site.look()
