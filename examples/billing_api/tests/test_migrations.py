# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Migrations: from nothing, one at a time, whole or not at all, with the least rights."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from billing_api.database import shipped_revisions

from .conftest import APP, PASSWORD, Cluster, alembic, migrate


def version(cluster: Cluster, database: str) -> str | None:
    with cluster.admin(database) as connection:
        if connection.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,):
            return None
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else None


def test_from_empty_to_head_and_again(cluster: Cluster, empty_database: str) -> None:
    first = migrate(cluster, empty_database)
    assert first.count("Running upgrade") == 2
    assert PASSWORD not in first
    assert version(cluster, empty_database) == "0002"
    assert "Running upgrade" not in migrate(cluster, empty_database)


def test_the_head_is_the_one_that_alembic_finds() -> None:
    config = Config()
    config.set_main_option("script_location", str(APP / "migrations"))
    scripts = ScriptDirectory.from_config(config)
    assert shipped_revisions() == (
        scripts.get_current_head(),
        frozenset(script.revision for script in scripts.walk_revisions()),
    )


def test_two_heads_are_a_defect(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text(f'revision = "{name}"\ndown_revision = None\n')
    with pytest.raises(RuntimeError, match="not to one version"):
        shipped_revisions(tmp_path)


def test_the_tables_are_what_the_migrations_lead_to(cluster: Cluster, database: str) -> None:
    migrate(cluster, database, "check")


def test_every_migration_can_be_undone(cluster: Cluster, empty_database: str) -> None:
    for arguments in (("upgrade", "head"), ("downgrade", "base"), ("upgrade", "head")):
        migrate(cluster, empty_database, *arguments)


def test_two_at_once_are_safe(cluster: Cluster, empty_database: str) -> None:
    url = cluster.url(empty_database, "billing_migration")
    both = [alembic(url, "upgrade", "head") for _index in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sorted(output.count("Running upgrade") for output in outputs) == [0, 2]


def test_the_application_may_change_rows_but_no_tables(cluster: Cluster, database: str) -> None:
    with psycopg.connect(cluster.url(database), autocommit=True) as connection:
        connection.execute("INSERT INTO customers (name, email) VALUES ('a', 'a@example.org')")
        for statement in ("DROP TABLE customers", "CREATE TABLE t (a int)", "TRUNCATE customers"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_a_failing_migration_leaves_nothing(cluster: Cluster, empty_database: str) -> None:
    with pytest.raises(RuntimeError, match="BILLING_FAULT_MIGRATION=fail"):
        migrate(cluster, empty_database, BILLING_FAULT_MIGRATION="fail")
    assert version(cluster, empty_database) is None


def test_a_hanging_migration_blocks_the_next_only_until_it_is_killed(cluster: Cluster, empty_database: str) -> None:
    url = cluster.url(empty_database, "billing_migration")
    hanging = alembic(url, "upgrade", "head", BILLING_FAULT_MIGRATION="hang")
    try:
        started = time.monotonic()
        with cluster.admin(empty_database) as connection:
            query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            while connection.execute(query).fetchone() == (0,):
                assert time.monotonic() - started < 20
                time.sleep(0.05)
        with pytest.raises(CommandError, match="another migration has been running for more"):
            migrate(cluster, empty_database, BILLING_MIGRATION_WAIT_SECONDS="0.5")
        with pytest.raises(subprocess.TimeoutExpired):
            hanging.wait(0.1)
    finally:
        hanging.kill()
        hanging.communicate()
    migrate(cluster, empty_database)
    assert version(cluster, empty_database) == "0002"


def test_bad_settings_are_named(cluster: Cluster, empty_database: str) -> None:
    with pytest.raises(CommandError, match="are both set"):
        migrate(cluster, empty_database, DATABASE_URL_FILE="/f")


def test_an_unreachable_database_ends_in_one_readable_line() -> None:
    process = alembic("postgresql://u:s3cret@127.0.0.1:1/d", "upgrade", "head")
    output, _errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "the database cannot be reached" in output
    assert "Traceback" not in output
    assert "s3cret" not in output
