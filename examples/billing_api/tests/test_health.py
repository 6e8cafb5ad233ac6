# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Health says the truth about the process and about the database, in time, and mends by itself."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from .conftest import ESCAPED, PASSWORD, Cluster, StartProcess, StartThread, migrate, new_customer, wait_for

NOWHERE = "postgresql://billing_app:s3cret@127.0.0.1:1/billing"


def health_db(client: httpx.Client) -> tuple[int, str]:
    started = time.monotonic()
    answer = client.get("/health/db")
    assert time.monotonic() - started < 2
    return answer.status_code, answer.json().get("detail", "")


def test_the_process_is_healthy_without_a_database(start_process: StartProcess) -> None:
    api = start_process(DATABASE_URL=NOWHERE)
    assert api.client.get("/health").status_code == 200
    status, reason = health_db(api.client)
    assert status == 503
    assert "the database refuses" in reason
    answer = api.client.get("/invoices")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "s3cret" not in api.log.read_text()


def test_schema_must_be_the_one_the_image_ships(cluster: Cluster, empty_database: str, start_api: StartThread) -> None:
    api = start_api(DATABASE_URL=cluster.url(empty_database))
    assert health_db(api.client) == (503, "the database has no schema yet: this image needs 0002")
    migrate(cluster, empty_database, "upgrade", "0001")
    assert health_db(api.client) == (503, "the database has schema 0001: this image needs 0002")
    migrate(cluster, empty_database)
    assert health_db(api.client) == (200, "")


def test_a_newer_schema_is_refused_unless_allowed(cluster: Cluster, database: str, start_api: StartThread) -> None:
    with cluster.admin(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    strict = start_api(DATABASE_URL=cluster.url(database))
    lenient = start_api(DATABASE_URL=cluster.url(database), BILLING_SCHEMA_ALLOW_NEWER="1")
    assert health_db(strict.client)[0] == 503
    assert health_db(lenient.client)[0] == 200
    with cluster.admin(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    assert health_db(lenient.client)[0] == 503


def test_a_database_restart_mends_by_itself(cluster: Cluster, database: str, start_api: StartThread) -> None:
    api = start_api(DATABASE_URL=cluster.url(database))
    new_customer(api.client)
    cluster.stop()
    try:
        assert health_db(api.client)[0] == 503
        assert api.client.get("/customers").status_code == 503
        assert api.client.get("/health").status_code == 200
    finally:
        cluster.start()
    assert health_db(api.client)[0] == 200
    assert len(api.client.get("/customers").json()["items"]) == 1


def test_a_silent_database_is_noticed_in_time(cluster: Cluster, database: str, start_api: StartThread) -> None:
    """The server accepts and never answers, as behind a broken network; requests hang, health does not."""
    api = start_api(DATABASE_URL=cluster.url(database), BILLING_DB_CONNECT_TIMEOUT_SECONDS="2")
    postmaster = int((cluster.folder / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGSTOP)
    try:
        for _index in range(2):
            status, reason = health_db(api.client)
            assert (status, reason) == (503, "the database does not answer within 1.5 seconds")
        assert api.client.get("/customers").status_code == 503
    finally:
        os.kill(postmaster, signal.SIGCONT)
    wait_for(lambda: health_db(api.client)[0] == 200)
    assert api.client.get("/customers").status_code == 200


def test_health_does_not_wait_for_a_full_pool(cluster: Cluster, database: str, start_api: StartThread) -> None:
    url = cluster.url(database)
    api = start_api(DATABASE_URL=url, BILLING_DB_POOL_SIZE="1", BILLING_DB_POOL_TIMEOUT_SECONDS="0.3")
    body = {"name": "A", "email": "pool@example.org"}
    with cluster.admin(database) as connection, connection.transaction():
        connection.execute("LOCK TABLE customers IN EXCLUSIVE MODE")
        with pytest.raises(httpx.ReadTimeout):
            api.client.post("/customers", json=body, timeout=0.3)
        answer = api.client.get("/customers")
        assert (answer.status_code, answer.json()["detail"]) == (503, "all database connections are in use")
        assert health_db(api.client)[0] == 200


def test_the_secret_stays_in_its_file(
    cluster: Cluster, database: str, start_process: StartProcess, tmp_path: Path
) -> None:
    secret = tmp_path / "database_url"
    secret.write_text(cluster.url(database) + "\n")
    api = start_process(DATABASE_URL_FILE=str(secret), BILLING_LOG_LEVEL="debug", BILLING_ACCESS_LOG="1")
    assert health_db(api.client)[0] == 200
    api.client.get("/customers")
    with cluster.admin() as connection:
        connection.execute("ALTER ROLE billing_app PASSWORD 'changed'")
    try:
        assert health_db(api.client)[0] == 503
    finally:
        with cluster.admin() as connection:
            connection.execute(f"ALTER ROLE billing_app PASSWORD '{PASSWORD}'".encode())
    log = api.log.read_text()
    assert '"message": "request"' in log
    assert PASSWORD not in log
    assert ESCAPED not in log
    shown = (
        Path(f"/proc/{api.process.pid}/environ").read_bytes() + Path(f"/proc/{api.process.pid}/cmdline").read_bytes()
    )
    assert ESCAPED.encode() not in shown


def test_forwarded_addresses_are_believed_only_from_the_edge(
    start_api: StartThread, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for trusted in ("10.201.0.0/24", "127.0.0.0/8"):
        api = start_api(DATABASE_URL=NOWHERE, FORWARDED_ALLOW_IPS=trusted, BILLING_ACCESS_LOG="1")
        api.client.get("/health", headers={"X-Forwarded-For": "192.0.2.7"})
        api.close()
    seen = [record.data["client"] for record in caplog.records if record.name == "billing_api.observe"]  # type: ignore[attr-defined]
    assert seen == ["127.0.0.1", "192.0.2.7"]
