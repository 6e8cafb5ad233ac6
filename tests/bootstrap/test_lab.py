# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""terraform apply makes a server that serves, and makes it anew around its data: real cloud-init, nobody logs in."""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.bench.server import OUTPUT
from tests.bootstrap.site import Site, Writer
from tests.lab.hosts import SECRETS

NAME = os.environ.get("BOOTSTRAP_LAB", "boot")
REPLACEMENTS = int(os.environ.get("BOOTSTRAP_REPLACEMENTS", "3"))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """The lab, without a server yet."""
    missing = [name for name in ("terraform", "docker") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} missing on PATH: the lab needs them")
    made = Site(NAME)
    made.up()
    yield made
    if not os.environ.get("BOOTSTRAP_KEEP"):
        made.apply("destroy")
        made.down()


@pytest.fixture(scope="module")
def numbers() -> Iterator[dict[str, Any]]:
    """What is measured, for the reader: no test depends on it."""
    found: dict[str, Any] = {"cores": os.cpu_count(), "replacements": []}
    yield found
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / "bootstrap.json").write_text(json.dumps(found, indent=2) + "\n")


@pytest.fixture(scope="module")
def serving(site: Site, numbers: dict[str, Any]) -> Site:
    """The first server, after its first boot."""
    started = time.monotonic()
    apply = site.apply()
    site.wait_serving()
    seconds = time.monotonic() - started
    ready = site.wait_state("ready")
    numbers["first"] = {
        "apply": round(apply, 1),
        "apply_to_serving": round(seconds, 1),
        "apply_to_ready": round(time.monotonic() - started, 1),
        "phases": ready["seconds"],
    }
    return site


def test_apply_makes_a_server_that_serves(serving: Site) -> None:
    assert serving.client.write_invoice()["amount_minor"] == 4200


def test_nobody_can_log_in(serving: Site) -> None:
    assert serving.open_ports(22, 80) == [80]
    assert serving.look("sh", "-c", "command -v sshd", check=False).returncode != 0


def test_cloud_init_is_content(serving: Site) -> None:
    schema = serving.look("cloud-init", "schema", "--system", check=False)
    assert schema.returncode == 0, schema.stdout + schema.stderr
    status = serving.look("cloud-init", "status", "--long", check=False)
    assert "status: done" in status.stdout, status.stdout


def test_user_data_and_status_hold_no_secret(serving: Site) -> None:
    password = serving.lab.registry.password
    for command in ("cloud-init query userdata", "cat /run/billing-bootstrap/status.json", "journalctl --no-pager"):
        assert password not in serving.look("sh", "-c", command).stdout, command
    assert serving.look("ls", "/run/billing-bootstrap-secrets", check=False).returncode != 0


def test_data_lies_on_the_volume(serving: Site) -> None:
    mounted = serving.look("findmnt", "--noheadings", "--output", "SOURCE,FSTYPE", "--mountpoint", "/srv/billing")
    device = serving.look("realpath", "/dev/disk/by-id/lab-data").stdout.strip()
    assert mounted.stdout.split() == [device, "ext4"]
    assert "PG_VERSION" in serving.look("sh", "-c", "find /srv/billing/postgres -name PG_VERSION").stdout


def test_systemd_mounts_and_checks_the_volume(serving: Site) -> None:
    check = serving.look("systemd-escape", "--path", "--template=systemd-fsck@.service", "/dev/disk/by-id/lab-data")
    assert serving.look("systemctl", "is-active", check.stdout.strip(), "srv-billing.mount").stdout.split() == [
        "active",
        "active",
    ]


def test_a_first_boot_that_was_cut_off_would_begin_anew(serving: Site) -> None:
    """What bootcmd removes is what this release of cloud-init keeps of the modules that make the server."""
    user_data = yaml.safe_load(serving.look("cloud-init", "query", "userdata").stdout)
    patterns = [word for word in user_data["bootcmd"][0][2].split() if "/sem/" in word]
    kept = serving.look("sh", "-c", "ls -d /var/lib/cloud/instance/sem/*").stdout.split()
    assert len(patterns) == 6
    assert [pattern for pattern in patterns if not fnmatch.filter(kept, pattern)] == []


def test_second_run_changes_nothing(serving: Site, numbers: dict[str, Any]) -> None:
    started = time.monotonic()
    serving.look("systemctl", "start", "billing-bootstrap.service")
    numbers["second_run"] = round(time.monotonic() - started, 1)
    status = serving.status()
    assert (status["state"], status["changed"]) == ("ready", 0), status


def test_missing_secret_is_waited_for_while_the_service_goes_on(serving: Site) -> None:
    serving.look("mv", SECRETS, f"{SECRETS}.away")
    serving.look("systemctl", "start", "--no-block", "billing-bootstrap.service")
    waiting = serving.wait_state("waiting")
    assert waiting["phase"] == "secrets"
    assert SECRETS in waiting["reason"]
    assert serving.serves()
    serving.look("mv", f"{SECRETS}.away", SECRETS)
    assert serving.wait_state("ready")["changed"] == 0  # without another word: systemd tries again


def test_timer_goes_on(serving: Site) -> None:
    shown = serving.look("systemctl", "show", "-p", "ActiveState,NextElapseUSecMonotonic", "billing-bootstrap.timer")
    assert "ActiveState=active" in shown.stdout
    assert "NextElapseUSecMonotonic=infinity" not in shown.stdout


@pytest.mark.parametrize("replacement", range(1, REPLACEMENTS + 1))
def test_replaced_server_has_every_acknowledged_invoice(
    serving: Site, numbers: dict[str, Any], replacement: int
) -> None:
    before = serving.look("cat", "/etc/machine-id").stdout
    with Writer(serving.client) as writer:
        time.sleep(3)
        serving.generation += 1
        started = time.monotonic()
        apply = serving.apply()
        serving.wait_serving()
        seconds = time.monotonic() - started
        ready = serving.wait_state("ready")
        time.sleep(3)
    assert serving.look("cat", "/etc/machine-id").stdout != before, "the server is still the old one"
    lost = [invoice for _moment, invoice in writer.acknowledged if not serving.client.serves(invoice)]
    numbers["replacements"].append(
        {
            "replacement": replacement,
            "acknowledged": len(writer.acknowledged),
            "refused": writer.refused,
            "lost": len(lost),
            "outage": round(writer.outage, 1),
            "apply": round(apply, 1),
            "apply_to_serving": round(seconds, 1),
            "phases": ready["seconds"],
        }
    )
    assert len(writer.acknowledged) > 10
    assert lost == []
