# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The agent on a server where nothing is deployed yet: it runs, it is locked in, and its secrets are its own."""

from __future__ import annotations

import json
import re

from testinfra.host import Host


def test_the_timer_runs_and_its_service_ends_well(host: Host) -> None:
    assert host.service("billing-rollout.timer").is_running
    assert host.service("billing-rollout.timer").is_enabled
    host.check_output("systemctl start billing-rollout.service")
    assert host.check_output("systemctl show --property=Result --value billing-rollout.service") == "success"


def test_nothing_of_it_stays_in_memory(host: Host) -> None:
    host.check_output("systemctl start billing-rollout.service")
    assert host.run("pgrep --full '[b]illing-rollout'").stdout == ""


def test_its_service_is_locked_in(host: Host) -> None:
    for unit, most in (("billing-rollout.service", 4.5), ("billing-rollout-knock.service", 1.5)):
        said = host.run(f"systemd-analyze security --no-pager {unit}").stdout
        found = re.search(r"Overall exposure level for \S+: (\d+\.\d)", said)
        assert found, said
        assert float(found[1]) <= most, said


def test_it_writes_nowhere_but_where_it_must(host: Host) -> None:
    said = host.check_output(
        "systemctl show --property=ProtectSystem --property=ReadWritePaths billing-rollout.service"
    )
    assert sorted(said.splitlines()) == [
        "ProtectSystem=strict",
        "ReadWritePaths=/opt/billing -/run/billing-knock-mark -/var/lib/prometheus/node-exporter",
    ]


def test_secrets_are_for_root_alone(host: Host) -> None:
    for path in ("/etc/billing-rollout.json", "/opt/billing/secrets/rollout_agent_knock"):
        assert host.file(path).mode & 0o077 == 0
    units = host.check_output("cat /etc/systemd/system/billing-rollout*")
    assert "planted" not in units


def test_the_command_answers_and_completes(host: Host) -> None:
    assert json.loads(host.check_output("billing-rollout status --json"))["services"] == {}
    assert host.run("billing-rollout doctor").rc == 1  # No Docker here.
    offered = (
        "source /usr/share/bash-completion/completions/billing-rollout; COMP_WORDS=(billing-rollout ro); COMP_CWORD=1"
    )
    assert host.check_output(f"bash -c '{offered}; _billing_rollout; echo ${{COMPREPLY[*]}}'") == "rollback"


def test_a_metric_is_written(host: Host) -> None:
    host.check_output("systemctl start billing-rollout.service")
    assert host.file("/var/lib/prometheus/node-exporter/billing.prom").mode == 0o644


def ask(host: Host, request: str, *rest: str) -> str:
    """Send a request to the receiver's socket and return the status of the answer."""
    lines = (
        [f"{request} HTTP/1.1", "Host: x", *rest] if "" in rest else [f"{request} HTTP/1.1", "Host: x", *rest, "", ""]
    )
    program = (
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/billing-knock/http.sock'); "
        f"s.sendall({chr(13) + chr(10)!r}.join({lines!r}).encode()); print(s.recv(100).split()[1].decode())"
    )
    return str(host.check_output(f'python3 -c "{program}"'))


def test_the_receiver_refuses_whoever_does_not_know_the_secret(host: Host) -> None:
    assert ask(host, "POST /-/knock", "Content-Length: 1", "", "x") == "401"
    assert ask(host, "GET /-/release") == "401"
    assert ask(host, "GET /-/release", "Authorization: Bearer planted-release-token-0123456789") in ("200", "503")
