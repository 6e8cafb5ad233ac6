# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What the role postgres leaves on a host, after side_effect.yml asked for wrong and for new things."""

from __future__ import annotations

import json
from typing import Any

import pytest
from testinfra.backend.base import CommandResult
from testinfra.host import Host

PLANTED = 'pl:an\\ted "se%cret$'


def inspect(host: Host) -> Any:
    """Return what Docker knows about the container."""
    return json.loads(host.check_output("docker inspect billing-postgres-1"))[0]


def superuser(host: Host, sql: str) -> str:
    """Return what the superuser gets as the answer to a query, unaligned."""
    output: str = host.check_output("docker exec billing-postgres-1 psql -XAtU postgres billing -c %s", sql)
    return output


def login(host: Host, role: str, secret: str, sql: str, database: str = "billing") -> CommandResult:
    """Log in over the network `data` from a container of its own, with the password of a file below secrets."""
    return host.run(
        "docker run --rm -i --network billing_data --volume /srv/billing/secrets/%s:/password:ro --user 999"
        " \"$(docker inspect --format '{{.Config.Image}}' billing-postgres-1)\""
        ' sh -c \'export PGPASSWORD="$(cat /password)"; exec psql -XAt -v ON_ERROR_STOP=1 -h 10.202.0.10 "$@"\''
        " psql -U %s %s -c %s",
        secret,
        role,
        database,
        sql,
    )


def test_runs_healthy_as_an_ordinary_user_without_any_capability(host: Host) -> None:
    container = inspect(host)
    assert container["State"]["Health"]["Status"] == "healthy"
    assert container["Config"]["User"] == "999:999"
    assert container["HostConfig"]["ReadonlyRootfs"] is True
    assert container["HostConfig"]["CapDrop"] == ["ALL"]
    assert not container["HostConfig"]["CapAdd"]
    assert not container["HostConfig"]["PortBindings"]


def test_cluster_has_checksums_and_the_builtin_locale(host: Host) -> None:
    assert superuser(host, "SHOW data_checksums") == "on"
    assert superuser(host, "SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'billing'") == "b|C.UTF-8"
    assert superuser(host, "SHOW data_directory") == "/var/lib/postgresql/17/data"


def test_data_outlives_the_container(host: Host) -> None:
    """side_effect.yml wrote one row and then changed a setting that needs another container."""
    assert superuser(host, "SHOW max_connections") == "60"
    assert superuser(host, "SELECT count(*) FROM kept") == "1"


def test_no_anonymous_volume_is_left(host: Host) -> None:
    assert host.check_output("docker volume ls --quiet") == ""


def test_migration_acts_as_the_owner(host: Host) -> None:
    answer = login(host, "billing_migration", "postgres_migration_password", "SELECT session_user, current_user")
    assert answer.stdout.strip() == "billing_migration|billing_owner"


def test_app_reads_and_writes_with_its_new_password(host: Host) -> None:
    assert host.check_output("cat /srv/billing/secrets/postgres_app_password") == PLANTED
    sql = "BEGIN; INSERT INTO kept DEFAULT VALUES; UPDATE kept SET id = id; DELETE FROM kept; ROLLBACK"
    answer = login(host, "billing_app", "postgres_app_password", sql)
    assert answer.rc == 0, answer.stderr


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE mine (id int)",
        "DROP TABLE kept",
        "TRUNCATE kept",
        "SET ROLE billing_owner",
        "CREATE DATABASE mine",
        "CREATE TEMPORARY TABLE mine (id int)",
    ],
)
def test_app_may_do_no_more(host: Host, sql: str) -> None:
    answer = login(host, "billing_app", "postgres_app_password", sql)
    assert answer.rc != 0
    assert "permission denied" in answer.stderr or "must be owner" in answer.stderr


@pytest.mark.parametrize(
    ("role", "secret", "database"),
    [
        ("postgres", "postgres_password", "postgres"),
        ("billing_app", "postgres_app_password", "postgres"),
        ("billing_app", "postgres_migration_password", "billing"),
    ],
)
def test_no_other_way_in(host: Host, role: str, secret: str, database: str) -> None:
    assert login(host, role, secret, "SELECT 1", database).rc != 0


@pytest.mark.parametrize("name", ["postgres_password", "postgres_migration_password", "postgres_app_password"])
def test_password_is_a_file_for_the_server_alone(host: Host, name: str) -> None:
    file = host.file(f"/srv/billing/secrets/{name}")
    assert (file.uid, file.mode) == (999, 0o400)
    assert len(file.content_string) >= 18
    assert host.file("/srv/billing/secrets").mode == 0o700


def test_password_is_nowhere_else(host: Host) -> None:
    for secret in ("postgres_password", "postgres_app_password"):
        value = host.file(f"/srv/billing/secrets/{secret}").content_string
        assert value not in host.check_output("docker inspect billing-postgres-1")
        assert value not in host.check_output("docker logs billing-postgres-1 2>&1")
        assert value not in host.check_output("journalctl --quiet")
        assert host.run("grep -rF -- %s /opt/billing", value).rc == 1


def test_killed_server_comes_back_with_its_data(host: Host) -> None:
    host.check_output("pkill -9 -o -x postgres")
    answers = "docker exec billing-postgres-1 pg_isready -qh 127.0.0.1"
    host.check_output(f"for i in $(seq 300); do {answers} && exit 0; sleep 0.1; done; exit 1")
    assert superuser(host, "SELECT count(*) FROM kept") == "1"
