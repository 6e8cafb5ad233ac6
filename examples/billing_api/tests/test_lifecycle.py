# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""A request that was accepted is finished, and the stop is bounded. And each fault does what it says."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from billing_api.faults import Faults

from .conftest import APP, Cluster, StartProcess, StartThread, ThreadApi, clean_env, wait_for

BODY = {"name": "A", "email": "flight@example.org"}
PATIENT = {"BILLING_DB_LOCK_TIMEOUT_SECONDS": "60", "BILLING_DB_STATEMENT_TIMEOUT_SECONDS": "60"}


@contextmanager
def locked_customers(cluster: Cluster, database: str) -> Iterator[None]:
    with cluster.admin(database) as connection, connection.transaction():
        connection.execute("LOCK TABLE customers IN EXCLUSIVE MODE")
        yield


def wait_until_in_flight(cluster: Cluster, database: str) -> None:
    with cluster.admin(database) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        wait_for(lambda: connection.execute(query).fetchone() == (1,))


def test_sigterm_finishes_what_is_in_flight(cluster: Cluster, database: str, start_process: StartProcess) -> None:
    api = start_process(DATABASE_URL=cluster.url(database), **PATIENT)
    with ThreadPoolExecutor(1) as pool:
        with locked_customers(cluster, database):
            request = pool.submit(httpx.post, f"{api.url}/customers", json=BODY, timeout=20, trust_env=False)
            wait_until_in_flight(cluster, database)
            api.terminate()
            time.sleep(0.5)
            assert api.process.poll() is None
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{api.url}/health", trust_env=False)
        assert request.result().status_code == 201
    assert api.wait() == 0


def test_the_grace_is_bounded_and_what_is_cut_short_is_not_written(
    cluster: Cluster, database: str, start_process: StartProcess
) -> None:
    api = start_process(DATABASE_URL=cluster.url(database), BILLING_SHUTDOWN_GRACE_SECONDS="1", **PATIENT)
    with ThreadPoolExecutor(1) as pool, locked_customers(cluster, database):
        request = pool.submit(httpx.post, f"{api.url}/customers", json=BODY, timeout=20, trust_env=False)
        wait_until_in_flight(cluster, database)
        started = time.monotonic()
        api.terminate()
        assert api.wait() == 1
        assert 0.9 < time.monotonic() - started < 8
        assert request.result().status_code == 503
    with cluster.admin(database) as connection:
        assert connection.execute("SELECT count(*) FROM customers").fetchone() == (0,)


def test_an_idle_connection_does_not_delay_the_stop_and_the_log_is_quiet_json(
    cluster: Cluster, database: str, start_process: StartProcess
) -> None:
    api = start_process(DATABASE_URL=cluster.url(database))
    api.client.get("/customers")
    started = time.monotonic()
    api.terminate()
    assert api.wait() == 0
    assert time.monotonic() - started < 5
    lines = [json.loads(line) for line in api.log.read_text().splitlines()]
    assert lines[0]["message"] == "starting"
    assert not [line for line in lines if line["message"] == "request"]


def test_bad_settings_end_with_2_and_one_line(cluster: Cluster) -> None:
    env = clean_env(DATABASE_URL=cluster.url("x"), DATABASE_URL_FILE="/f")
    command = [sys.executable, "-m", "billing_api"]
    result = subprocess.run(command, cwd=APP, env=env, capture_output=True, text=True, timeout=20, check=False)
    assert result.returncode == 2
    assert "are both set" in result.stdout
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""


@pytest.mark.parametrize("path", ["/health", "/health/db", "/nothing"])
def test_the_image_health_check_agrees_with_the_server(shared_api: ThreadApi, path: str) -> None:
    command = [sys.executable, "-I", "-S", str(APP / "healthcheck.py"), path]
    env = clean_env(BILLING_PORT=str(shared_api.port))
    result = subprocess.run(command, env=env, capture_output=True, timeout=20, check=False)
    assert result.returncode == (1 if path == "/nothing" else 0)
    assert result.stderr == b""


def test_the_image_health_check_fails_without_a_server() -> None:
    command = [sys.executable, "-I", "-S", str(APP / "healthcheck.py")]
    result = subprocess.run(command, env=clean_env(BILLING_PORT="1"), capture_output=True, timeout=20, check=False)
    assert (result.returncode, result.stderr) == (1, b"")


def test_fault_never_healthy(cluster: Cluster, database: str, start_api: StartThread) -> None:
    api = start_api(DATABASE_URL=cluster.url(database), BILLING_FAULT_NEVER_HEALTHY="1")
    assert api.client.get("/health").status_code == 503
    assert api.client.get("/health/db").status_code == 503
    assert api.client.get("/customers").status_code == 200


def test_fault_die_after_seconds(cluster: Cluster, database: str, start_process: StartProcess) -> None:
    api = start_process(DATABASE_URL=cluster.url(database), BILLING_FAULT_DIE_AFTER_SECONDS="0.5")
    assert api.wait() == 70
    assert "faults for tests are switched on" in api.log.read_text()


def test_fault_error_rate(cluster: Cluster, database: str, start_api: StartThread) -> None:
    api = start_api(DATABASE_URL=cluster.url(database), BILLING_FAULT_ERROR_RATE="0.05")
    statuses = [api.client.get("/version").status_code for _index in range(100)]
    assert statuses.count(500) == 5
    assert {api.client.get("/health").status_code for _index in range(25)} == {200}
    assert 'status="500"} 5.0' in api.client.get("/metrics").text


def test_fault_latency(cluster: Cluster, database: str, start_api: StartThread) -> None:
    api = start_api(DATABASE_URL=cluster.url(database), BILLING_FAULT_LATENCY_SECONDS="0.5")
    assert api.client.get("/version").elapsed.total_seconds() >= 0.5
    assert api.client.get("/health").elapsed.total_seconds() < 0.4


def test_fault_slow_start_listens_later_and_can_be_stopped(start_process: StartProcess) -> None:
    api = start_process(listening=False, DATABASE_URL="postgresql://u@h/d", BILLING_FAULT_SLOW_START_SECONDS="60")
    wait_for(lambda: "faults for tests" in api.log.read_text(), 30)
    assert not api.listens()
    api.terminate()
    assert api.wait() == 0


def test_fault_slow_start_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("billing_api.faults.time.sleep", slept.append)
    Faults.from_env({"BILLING_FAULT_SLOW_START_SECONDS": "2"}).before_start()
    assert slept == [2]


def test_fault_ignore_sigterm(cluster: Cluster, database: str, start_process: StartProcess) -> None:
    api = start_process(DATABASE_URL=cluster.url(database), BILLING_FAULT_IGNORE_SIGTERM="1")
    api.terminate()
    time.sleep(0.7)
    assert api.client.get("/health").status_code == 200
    api.process.send_signal(signal.SIGKILL)
    assert api.wait() == -signal.SIGKILL
