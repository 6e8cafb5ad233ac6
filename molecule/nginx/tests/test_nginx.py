# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What the role nginx leaves on a host without an API, after side_effect.yml gave it a certificate and a name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from testinfra.host import Host

HTTPS = "curl -sk --resolve billing.test:443:127.0.0.1 https://billing.test"
ASK = "docker exec billing-nginx-blue-1 "  # curl is in the image, not on the host


@pytest.fixture
def container(host: Host) -> Any:
    """What Docker knows about the container."""
    return json.loads(host.check_output("docker inspect billing-nginx-blue-1"))[0]


def own_address(host: Host) -> str:
    """Return the address under which others reach the host."""
    address: str = host.check_output("hostname -I").split()[0]
    return address


def test_runs_healthy_with_few_capabilities(container: Any) -> None:
    assert container["State"]["Health"]["Status"] == "healthy"
    assert container["HostConfig"]["NetworkMode"] == "host"
    assert container["HostConfig"]["ReadonlyRootfs"] is True
    assert container["HostConfig"]["CapDrop"] == ["ALL"]
    added = {name.removeprefix("CAP_") for name in container["HostConfig"]["CapAdd"]}
    assert added == {"NET_BIND_SERVICE", "CHOWN", "SETUID", "SETGID", "KILL"}


def test_kernel_hands_waiting_connections_over(host: Host) -> None:
    assert host.sysctl("net.ipv4.tcp_migrate_req") == 1


def test_listens_on_two_ports_only(host: Host) -> None:
    sockets = host.check_output("ss -Hltnp | grep nginx | awk '{print $4}' | sort -u").split()
    assert {socket.rpartition(":")[2] for socket in sockets} == {"80", "443"}


def test_answers_503_with_the_request_id_until_there_is_a_release(host: Host) -> None:
    answer = host.check_output(f"{ASK} {HTTPS}/invoices -i --http2 -H 'X-Request-ID: from-client-1'")
    assert answer.startswith("HTTP/2 503")
    assert "x-request-id: from-client-1" in answer
    assert "retry-after: 5" in answer
    assert "strict-transport-security: max-age=31536000" in answer
    assert "server: nginx\r\n" in answer
    assert json.loads(answer.splitlines()[-1])["error"]["code"] == "no_release"


def test_does_not_take_over_a_dangerous_request_id(host: Host) -> None:
    answer = host.check_output(f"{ASK} {HTTPS}/ -i -H 'X-Request-ID: <script>alert</script>'")
    assert "<script>" not in answer


def test_http_leads_to_https(host: Host) -> None:
    answer = host.check_output(f"{ASK} curl -si -H 'Host: billing.test' 'http://127.0.0.1/a?b=c'")
    assert answer.startswith("HTTP/1.1 308")
    assert "https://billing.test/a?b=c" in answer


def test_other_names_are_not_served(host: Host) -> None:
    assert host.check_output(f"{ASK} curl -so /dev/null -w '%{{http_code}}' http://127.0.0.1/") == "421"
    assert host.run(f"{ASK} curl -sk https://127.0.0.1/").rc == 35


def test_health_is_answered_on_loopback_only(host: Host) -> None:
    assert host.check_output(f"{ASK} curl -s http://127.0.0.1/nginx-health") == "ok"
    assert "404" in host.check_output(f"{ASK} curl -si http://{own_address(host)}/nginx-health").splitlines()[0]


def test_run_that_was_cut_off_before_the_reload_was_made_good(host: Host) -> None:
    assert host.check_output(f"{ASK} {HTTPS}/extra") == "extra"


def test_key_is_for_root_alone(host: Host) -> None:
    assert host.file("/opt/billing/nginx/tls").mode == 0o700
    key = host.check_output("ls /opt/billing/nginx/tls/*.key")
    assert (host.file(key).uid, host.file(key).mode) == (0, 0o400)


def test_log_is_one_object_per_request_without_the_query(host: Host) -> None:
    host.check_output(f"{ASK} {HTTPS}/logged?card=4711 -H 'X-Request-ID: logged-request-1'")
    lines = host.check_output("docker logs billing-nginx-blue-1 2>/dev/null").splitlines()
    entry = [json.loads(line) for line in lines if "logged-request-1" in line][-1]
    assert (entry["path"], entry["status"], entry["remote_addr"]) == ("/logged", 503, "127.0.0.1")
    assert "4711" not in "".join(lines)


def test_killed_nginx_comes_back(host: Host) -> None:
    """After a reload too: a reload by `docker kill` would have ended the restart policy (moby 41302)."""
    host.check_output("pkill -9 -o -x nginx")
    answers = f"{ASK} curl -sf http://127.0.0.1/nginx-health"
    host.check_output(f"for i in $(seq 300); do {answers} && exit 0; sleep 0.1; done; exit 1")
