# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The lab itself, on real containers: ``pytest tests/lab/test_lab.py``. Its labs are ``selftest`` and ``selftest2``."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, LabError, containers
from tests.lab.shell import run


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab("selftest")
    lab.down()
    lab.up()
    yield lab
    lab.down()


def ids(lab: Lab) -> list[str]:
    """Identity and start time of every container of the lab: equal before and after, so nothing was touched."""
    form = "{{.Id}} {{.State.StartedAt}}"
    return run(["docker", "inspect", "--format", form, *containers.names("container", lab.name)]).stdout.split("\n")


def test_a_second_up_changes_nothing(lab: Lab) -> None:
    lab.add_host("billing-api1")
    before = ids(lab), {path: path.read_bytes() for path in lab.dir.rglob("*") if path.is_file()}
    lab.up()
    lab.add_host("billing-api1")
    assert before == (ids(lab), {path: path.read_bytes() for path in lab.dir.rglob("*") if path.is_file()})


def test_secrets_are_readable_by_their_owner_only(lab: Lab) -> None:
    secret = [
        "ca.key",
        "registry_password",
        "registry/registry.key",
        "registry/htpasswd",
        "ssh/id_ed25519",
        "ssh/billing-api1_ed25519",
        "inventory/group_vars/billing.yml",
    ]
    assert {name: stat.S_IMODE((lab.dir / name).stat().st_mode) for name in secret} == dict.fromkeys(secret, 0o600)


def test_the_password_is_in_no_container(lab: Lab) -> None:
    described = run(["docker", "inspect", *containers.names("container", lab.name)]).stdout
    assert "billing.lab" in described
    assert lab.registry.password not in described


def test_a_host_is_a_fresh_server(lab: Lab) -> None:
    host = lab.add_host("billing-api1")
    assert host.ssh("hostname").stdout.strip() == "billing-api1"
    assert host.ssh("systemctl is-system-running --wait", check=False).stdout.strip() == "running"
    assert host.ssh("command -v docker", check=False).returncode != 0
    host.ssh("mountpoint -q /srv/billing && mountpoint -q /var/lib/docker && python3 -c 'import apt'")
    host.ssh("sysctl -q -w net.ipv4.tcp_migrate_req=1")
    assert host.ssh("getent hosts registry.lab").stdout.split()[0] == lab.registry.address


def test_an_unknown_host_key_is_refused(lab: Lab) -> None:
    host = lab.add_host("billing-api1")
    known = lab.ssh_dir / "known_hosts"
    right = known.read_text()
    other = (lab.ssh_dir / "id_ed25519.pub").read_text()
    known.write_text(f"{host.address} {other}")
    try:
        with pytest.raises(LabError, match=r"HOST IDENTIFICATION HAS CHANGED|Host key verification failed"):
            host.ssh("true")
    finally:
        known.write_text(right)


def test_a_host_keeps_address_key_and_files_through_reboot_and_power_cut(lab: Lab) -> None:
    host = lab.add_host("billing-api1")
    host.ssh("echo kept > /srv/billing/a && echo kept > /root/a && sync")
    host.reboot()
    assert host.ssh("cat /srv/billing/a /root/a").stdout == "kept\nkept\n"
    host.kill()
    assert host.state == "exited"
    assert not host.answers()
    host.start()
    assert host.ssh("cat /srv/billing/a /root/a").stdout == "kept\nkept\n"


def test_the_data_volume_outlives_the_host_unless_purged(lab: Lab) -> None:
    host = lab.add_host("client")
    host.ssh("echo data > /srv/billing/a; echo images > /var/lib/docker/a; echo root > /root/a")
    lab.remove_host("client")
    assert lab.host("client").state == "absent"
    again = lab.add_host("client")
    assert again.host_key() == host.host_key()
    assert again.address == host.address
    assert again.ssh("cat /srv/billing/a /var/lib/docker/a /root/a 2>/dev/null", check=False).stdout == "data\n"
    lab.remove_host("client", purge=True)
    assert not list(again.ssh_dir.glob("client*"))
    assert not [name for name in containers.names("volume", lab.name) if "client" in name]
    lab.remove_host("client")  # once more is fine


def test_a_host_added_by_hand_is_not_in_terraforms_variables(lab: Lab) -> None:
    lab.add_host("client")
    lab.up()
    planned = json.loads((lab.dir / "terraform.tfvars.json").read_text())
    assert list(planned["hosts"]) == ["billing-api1"]
    assert "client" in (lab.ssh_dir / "known_hosts").read_text()


def test_an_address_that_is_taken_or_not_for_hosts_is_refused(lab: Lab) -> None:
    taken = lab.add_host("billing-api1").address
    with pytest.raises(LabError, match="belongs to host billing-api1"):
        lab.add_host("other", taken)
    with pytest.raises(LabError, match="not among those for hosts"):
        lab.add_host("other", "10.77.300.1")


def test_a_variant_has_a_digest_of_its_own_and_a_second_push_changes_nothing(lab: Lab) -> None:
    released = lab.registry.digest("billing-api:1.0.0")
    first = lab.push_variant("faulty", {"FAULT": "x"})
    assert first != released
    assert lab.push_variant("faulty", {"FAULT": "x"}) == first == lab.registry.digest("billing-api:faulty")
    assert lab.push_variant("faulty", {"FAULT": "y"}) != first
    assert lab.registry.digest("billing-api:1.0.0") == released


def test_the_registry_wants_the_password_and_keeps_its_images_through_a_stop(lab: Lab) -> None:
    digest = lab.registry.digest("nginx:1.30")
    host = lab.add_host("billing-api1")
    probe = "python3 -c 'import socket; socket.create_connection((\"registry.lab\", 5000), 3)'"
    host.ssh(probe)
    lab.registry.stop()
    assert host.ssh(probe, check=False).returncode != 0
    lab.registry.start()
    assert lab.registry.digest("nginx:1.30") == digest
    wrong = type(lab.registry.client)(lab.registry.address, 5000, lab.dir / "ca.crt", "lab", "wrong")
    assert not wrong.ready()


def test_two_labs_live_side_by_side_and_down_leaves_nothing(lab: Lab) -> None:
    mine = lab.add_host("billing-api1")
    other = Lab("selftest2")
    other.up()
    try:
        theirs = other.add_host("billing-api1")
        assert not other.subnet.overlaps(lab.subnet)
        assert theirs.host_key() != mine.host_key()
        assert other.registry.password != lab.registry.password
        assert mine.ssh(f"timeout 2 bash -c 'exec 3<>/dev/tcp/{theirs.address}/22'", check=False).returncode != 0
    finally:
        other.down()
    for kind in ("container", "volume", "network"):
        listed = run(
            ["docker", kind, "ls", *(["--all"] if kind == "container" else []), "--format", "{{json .}}"]
        ).stdout
        assert "selftest2" not in listed
    assert not other.dir.exists()
    assert mine.ssh("true").returncode == 0
    other.down()  # once more is fine


def test_up_repairs_what_is_missing(lab: Lab) -> None:
    digest = lab.registry.digest("nginx:1.30")
    run(["docker", "rm", "--force", "--volumes", lab.registry.container])
    lab.up()
    assert lab.registry.digest("nginx:1.30") == digest


def test_what_a_killed_run_left_half_made_is_made_anew(lab: Lab) -> None:
    lab.remove_host("client", purge=True)
    run(["docker", "create", "--name", f"billing-lab-{lab.name}-client", "billing-lab/server:latest"])
    Path(lab.ssh_dir / "client_ed25519").write_text("half of a key pair")
    assert lab.add_host("client").ssh("hostname").stdout == "client\n"
