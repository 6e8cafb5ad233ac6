# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The environment is read as documented, and no mistake in it reveals the password."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from billing_api import logs
from billing_api.database import conninfo
from billing_api.faults import Faults
from billing_api.settings import ConfigurationError, Settings, database_url

URL = "postgresql://billing_app:s3cret%2Fword@10.202.0.10:5432/billing"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_postgresql_means_the_psycopg_driver(scheme: str) -> None:
    url = database_url({"DATABASE_URL": URL.replace("postgresql", scheme)})
    assert url.drivername == "postgresql+psycopg"
    assert url.password == "s3cret/word"


def test_any_password_reaches_the_database_as_it_is() -> None:
    url = database_url({"DATABASE_URL": "postgresql://app:a%2Fb%3A%40%20%25%2B%27@db:5433/billing?sslmode=require"})
    assert conninfo_to_dict(conninfo(url)) == {
        "user": "app",
        "password": "a/b:@ %+'",
        "host": "db",
        "port": "5433",
        "dbname": "billing",
        "sslmode": "require",
    }


def test_the_address_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(URL + "\n")
    assert database_url({"DATABASE_URL_FILE": str(file), "DATABASE_URL": ""}).host == "10.202.0.10"


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({}, "neither DATABASE_URL nor DATABASE_URL_FILE"),
        ({"DATABASE_URL": URL, "DATABASE_URL_FILE": "/f"}, "are both set"),
        ({"DATABASE_URL_FILE": "/nowhere/s3cret"}, "No such file"),
        ({"DATABASE_URL": "mysql://u:s3cret@h/d"}, "only postgresql://"),
        ({"DATABASE_URL": "s3cret"}, "is not a database address"),
        ({"DATABASE_URL": "postgresql://u:s3cret@h:port/d"}, "is not a database address"),
        ({"DATABASE_URL": "postgresql://u:s3cret@h"}, "names no database"),
        ({"DATABASE_URL": URL, "BILLING_PORT": "http"}, "BILLING_PORT must be a number"),
        ({"DATABASE_URL": URL, "BILLING_DB_POOL_SIZE": "0"}, "must be at least 1"),
        ({"DATABASE_URL": URL, "BILLING_ACCESS_LOG": "perhaps"}, "must be 1 or 0"),
        ({"DATABASE_URL": URL, "BILLING_LOG_LEVEL": "loud"}, "BILLING_LOG_LEVEL"),
    ],
)
def test_a_mistake_is_named_without_the_secret(env: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as error:
        Settings.from_env(env)
    assert "s3cret@" not in str(error.value)
    assert "s3cret%" not in str(error.value)


@pytest.mark.parametrize(
    "env",
    [
        {"BILLING_FAULT_MIGRATION": "maybe"},
        {"BILLING_FAULT_ERROR_RATE": "5"},
        {"BILLING_FAULT_NEVER_HEALTHY": "x"},
        {"BILLING_FAULT_DIE_AFTER_SECONDS": "soon"},
    ],
)
def test_a_malformed_fault_is_an_error(env: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        Faults.from_env(env)


def test_no_fault_is_on_by_default() -> None:
    assert Faults.from_env({}) == Faults()


def test_settings_do_not_print_the_password() -> None:
    assert "s3cret" not in repr(Settings.from_env({"DATABASE_URL": URL}))


def test_logs_take_the_password_out_of_messages_data_and_traces() -> None:
    formatter = logs.JsonFormatter({"slot": "blue"}, logs.secrets_of(database_url({"DATABASE_URL": URL})))
    with pytest.raises(ValueError, match="could not connect") as caught:
        raise ValueError(f"could not connect to {URL} with s3cret/word")
    info = (ValueError, caught.value, caught.tb)
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "%s and s3cret%%2Fword of %s", ("s3cret/word", URL), info)
    record.data = {"password": "s3cret/word"}
    line = formatter.format(record)
    assert "s3cret" not in line
    assert json.loads(line)["slot"] == "blue"
    assert "ValueError" in json.loads(line)["exception"]
