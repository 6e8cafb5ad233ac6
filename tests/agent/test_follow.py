# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""A push leads to the new release serving, with nobody logged in, and no client notices."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPException

import pytest

from plugins.module_utils._rollout.clock import instant
from tests.agent.conftest import UnderLoad
from tests.agent.watched import KNOCK, METRICS, RELEASE, UNIT, Watched
from tests.faults.site import wait_until

pytestmark = pytest.mark.fault("follow")

_AFTERWARDS = ("drain", "soak", "stop", "finish", "prune")  # Phases in which the new release serves already.


def ssh_answers(site: Watched) -> bool:
    try:
        socket.create_connection((site.host.address, 22), timeout=1).close()
    except OSError:
        return False
    return True


def heard(site: Watched) -> bool:
    try:
        return site.knock() == 202
    except (OSError, HTTPException):
        return False


@pytest.mark.parametrize("how", ["poll", "knock"])
def test_a_push_is_served_while_nobody_can_log_in(site: Watched, under_load: UnderLoad, how: str) -> None:
    with under_load(f"no fault: push, noticed by {how}, sshd stopped") as case:
        if how == "poll":
            site.start_timer()
        site.remote.sh(
            "systemd-run --quiet --on-active=40 --timer-property=AccuracySec=1s systemctl start ssh.service\n"
            "systemctl stop ssh.socket ssh.service",
            check=False,
        )
        site.remote.forget()
        assert not ssh_answers(site)
        digest = site.publish()
        pushed = time.time()
        if how == "knock":
            assert site.knock() == 202
        site.wait_released(digest)
        released = time.time()
        wait_until(lambda: ssh_answers(site), 60, "sshd does not come back")
        site.stop_timer()
        case.wanted = site.good
    (entry,) = (one for one in site.history() if one["after"]["digest"] == digest)
    assert (entry["actor"], entry["outcome"]) == ("agent", "live")
    said = site.remote.sh(f"journalctl --unit {UNIT} --output short-unix --since @{int(pushed)} | grep -m 1 {digest}")
    serving = instant(entry["started_at"]) + sum(
        seconds for phase, seconds in entry["seconds"].items() if phase not in _AFTERWARDS
    )
    site.measure(f"{how}_noticed_seconds", float(said.split()[0]) - pushed)
    site.measure(f"{how}_serving_seconds", serving - pushed)
    site.measure(f"{how}_released_seconds", released - pushed)


def test_one_notification_and_one_entry_in_the_journal_for_each_rollout(site: Watched) -> None:
    site.restore()
    site.look()
    before = len(site.receiver.got)
    digest = site.publish()
    for _run in range(4):
        assert site.look() == "success"
    told = site.receiver.got[before:]
    assert [(one["service"], one["outcome"], one["after"]["digest"]) for one in told] == [("api", "live", digest)]
    found = site.remote.sh(f"journalctl --output json BILLING_DIGEST={digest} | wc -l")
    assert int(found) == 1
    assert f'digest="{digest}"' in site.remote.sh(f"cat {METRICS}")


def test_a_bad_knock_starts_nothing_and_a_body_chooses_nothing(site: Watched) -> None:
    assert site.knock("another-secret-altogether") == 401
    assert site.client.call("POST", KNOCK, {"image": "evil"}, {"X-Gitlab-Token": "guess"}).status == 401
    assert site.client.get(KNOCK).status in (403, 405)
    assert site.client.get(RELEASE).status == 401
    assert site.client.get(RELEASE, Authorization="Bearer guess").status == 401


def test_timer_knock_and_a_person_at_once_are_one_rollout(site: Watched, under_load: UnderLoad) -> None:
    with under_load("no fault: timer, knock and a person at once") as case:
        digest = site.publish()
        together = (
            "systemctl start billing-rollout.timer & systemctl start --no-block billing-rollout.service & "
            "billing-rollout check & first=$!; billing-rollout check & second=$!; wait $first && wait $second"
        )
        site.remote.sh(together)
        assert site.knock() == 202
        site.wait_released(digest)
        site.stop_timer()
        case.wanted = site.good
    entries = [one for one in site.history() if one["after"] and one["after"]["digest"] == digest]
    assert [(one["kind"], one["outcome"]) for one in entries] == [("rollout", "live")]


def test_timer_boot_knock_and_a_person_at_once_are_one_rollout(site: Watched, under_load: UnderLoad) -> None:
    fault = "power loss, then boot, timer, knock and a person at once"
    with under_load(fault, anything=True) as case, ThreadPoolExecutor() as other:
        digest = site.publish()
        site.host.kill()
        site.remote.forget()
        # The timer comes with the boot; whoever knocks does so from before Nginx is there until somebody hears it.
        knocked = other.submit(wait_until, partial(heard, site), 90, "nobody hears a knock")
        site.host.start()
        site.command("check")
        knocked.result()
        site.wait_released(digest, 120)
        site.stop_timer()
        case.wanted = site.good
    entries = [one for one in site.history() if one["after"] and one["after"]["digest"] == digest]
    assert [(one["kind"], one["outcome"]) for one in entries] == [("rollout", "live")]


def test_an_agent_that_was_off_goes_to_the_newest_digest_in_one_rollout(site: Watched) -> None:
    site.restore()
    count = len(site.history())
    digests = [site.publish() for _push in range(3)]
    # Off for a day: its notes say that it looked a day ago, and the host boots.
    long_ago = r's/"checked_at": "[^"]*"/"checked_at": "2026-01-01T00:00:00.000Z"/'
    site.remote.run("sed", "-i", long_ago, "/opt/billing/state/agent/memos.json")
    site.host.reboot()
    site.remote.forget()
    site.wait_released(digests[-1], 120)
    site.stop_timer()
    entries = site.history()[count:]
    assert [one["after"]["digest"] for one in entries if one["kind"] == "rollout"] == [digests[-1]]
