# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""A PostgreSQL cluster of this test run's own, set up as the postgres role does it, and real server processes."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from unittest import mock

import httpx
import psycopg
import pytest
from alembic import command
from alembic.config import Config
from psycopg import sql

from billing_api.__main__ import Server, server_config
from billing_api.app import create_app
from billing_api.faults import Faults
from billing_api.settings import Settings

APP = Path(__file__).parent.parent
PASSWORD = "plant/ed:s3cret@pass"  # has what must be escaped in a URL
ESCAPED = "plant%2Fed%3As3cret%40pass"
# What the postgres role does: see its README. The owner owns, the migration acts as the owner, the application has DML.
ROLES = f"""
CREATE ROLE billing_owner NOLOGIN;
CREATE ROLE billing_migration LOGIN PASSWORD '{PASSWORD}' IN ROLE billing_owner;
ALTER ROLE billing_migration SET role = 'billing_owner';
CREATE ROLE billing_app LOGIN PASSWORD '{PASSWORD}';
ALTER DEFAULT PRIVILEGES FOR ROLE billing_owner GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO billing_app;
ALTER DEFAULT PRIVILEGES FOR ROLE billing_owner GRANT USAGE, SELECT ON SEQUENCES TO billing_app;
"""


def free_port() -> int:
    """Find a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until the condition holds, or fail."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so within {seconds} s"
        time.sleep(0.02)


def clean_env(**extra: str) -> dict[str, str]:
    """Return this process's environment without what would steer the application or slow its start."""
    out = ("BILLING_", "DATABASE_URL", "PG", "PYTHONDONTWRITEBYTECODE")
    return {**{k: v for k, v in os.environ.items() if not k.startswith(out)}, **extra}


@dataclass
class Cluster:
    """A PostgreSQL server that can be stopped, started and frozen."""

    folder: Path
    pg_ctl: str
    user: list[str]
    port: int = field(default_factory=free_port)

    def _ctl(self, *arguments: str) -> None:
        command = [*self.user, self.pg_ctl, "-D", str(self.folder / "data"), "-w", *arguments]
        subprocess.run(command, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, timeout=60)

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=200"
        self._ctl("-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self._ctl("-m", "immediate", "stop")

    def admin(self, database: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(host="127.0.0.1", port=self.port, user="admin", dbname=database, autocommit=True)

    def url(self, database: str, user: str = "billing_app") -> str:
        return f"postgresql://{user}:{ESCAPED}@127.0.0.1:{self.port}/{database}"


def _find(tool: str) -> str | None:
    candidates = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{tool}"), reverse=True)
    return str(candidates[0]) if candidates else shutil.which(tool)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Start a private PostgreSQL; skip, and say why, where none is installed."""
    initdb, pg_ctl = _find("initdb"), _find("pg_ctl")
    if initdb is None or pg_ctl is None:
        pytest.skip("no PostgreSQL server here: install the package `postgresql` to run these tests")
    as_root = os.geteuid() == 0  # PostgreSQL refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="billing-api-"))
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if as_root else []
    if as_root:
        shutil.chown(folder, "postgres", "postgres")
    command = [*user, initdb, "-D", str(folder / "data"), "-U", "admin", "-A", "trust", "-E", "UTF8", "--locale=C"]
    subprocess.run([*command, "--no-sync"], check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=60)
    hba = folder / "data" / "pg_hba.conf"
    hba.write_text("host all admin 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    server = Cluster(folder, pg_ctl, user)
    server.start()
    try:
        with server.admin("template1") as connection:  # default privileges belong to a database
            connection.execute(ROLES)
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


_databases = iter(range(1, 10_000))


@pytest.fixture
def empty_database(cluster: Cluster) -> str:
    """Create a database without any table."""
    name = f"billing_{next(_databases)}"
    with cluster.admin() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER billing_owner").format(sql.Identifier(name)))
    return name


def alembic(url: str, *arguments: str, **env: str) -> subprocess.Popen[str]:
    """Start Alembic as the image does, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=APP,
        env=clean_env(DATABASE_URL=url, **env),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def migrate(cluster: Cluster, database: str, *arguments: str, **env: str) -> str:
    """Run Alembic as the migration role, in this process as that is faster, and return its output.

    Raises:
        Exception: whatever stopped Alembic.
    """
    config = Config(APP / "alembic.ini", cmd_opts=Namespace())
    variables = clean_env(**{"DATABASE_URL": cluster.url(database, "billing_migration"), **env})
    root = logging.getLogger()
    before = root.handlers[:], root.level
    name, *rest = arguments or ("upgrade", "head")
    with mock.patch.dict(os.environ, variables, clear=True), redirect_stdout(StringIO()) as output:
        try:
            getattr(command, name)(config, *rest)
        finally:
            root.handlers[:] = before[0]
            root.setLevel(before[1])
    return output.getvalue()


@pytest.fixture(scope="session")
def _template(cluster: Cluster) -> str:
    with cluster.admin() as connection:
        connection.execute("CREATE DATABASE billing_template OWNER billing_owner")
    migrate(cluster, "billing_template")
    return "billing_template"


def _copy(cluster: Cluster, template: str) -> str:
    name = f"billing_{next(_databases)}"
    with cluster.admin() as connection:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER billing_owner")
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
    return name


@pytest.fixture
def database(cluster: Cluster, _template: str) -> str:
    """Create a database with the newest schema and no row."""
    return _copy(cluster, _template)


class Api:
    """A server that listens on a port of its own."""

    def __init__(self, database: str = "") -> None:
        self.database = database
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=20, trust_env=False)

    def env(self, env: Mapping[str, str]) -> dict[str, str]:
        return {"BILLING_HOST": "127.0.0.1", "BILLING_PORT": str(self.port), **env}

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def close(self) -> None:
        self.client.close()


class ThreadApi(Api):
    """The application on a real port, in a thread of this process: it starts at once."""

    def __init__(self, env: Mapping[str, str], database: str = "") -> None:
        super().__init__(database)
        settings = Settings.from_env(self.env(env))
        self.server = Server(server_config(create_app(settings, Faults.from_env(env)), settings), Faults())
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        wait_for(self.listens)

    def close(self) -> None:
        super().close()
        self.server.should_exit = True
        self.thread.join(15)
        assert not self.thread.is_alive()


class ProcessApi(Api):
    """The application as the image's command starts it."""

    def __init__(self, env: Mapping[str, str], log: Path) -> None:
        super().__init__()
        self.log = log
        with log.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "billing_api"],
                cwd=APP,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=clean_env(**self.env(env)),
            )

    def listens(self) -> bool:
        assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.log.read_text()}"
        return super().listens()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = 10) -> int:
        return self.process.wait(seconds)

    def close(self) -> None:
        super().close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


StartThread = Callable[..., ThreadApi]
StartProcess = Callable[..., ProcessApi]


@pytest.fixture
def start_api() -> Iterator[StartThread]:
    """Start servers in threads, and end them after the test."""
    with ExitStack() as started:

        def start(**env: str) -> ThreadApi:
            api = ThreadApi(env)
            started.callback(api.close)
            return api

        yield start


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[StartProcess]:
    """Start server processes, by default waiting until they listen, and end them after the test."""
    with ExitStack() as started:
        numbers = iter(range(100))

        def start(*, listening: bool = True, **env: str) -> ProcessApi:
            api = ProcessApi(env, tmp_path / f"api-{next(numbers)}.log")
            started.callback(api.close)
            if listening:
                wait_for(api.listens, 30)
            return api

        yield start


@pytest.fixture(scope="session")
def shared_api(cluster: Cluster, _template: str) -> Iterator[ThreadApi]:
    """One server and one database for the tests that do nothing to them but ask."""
    name = _copy(cluster, _template)
    env = {"DATABASE_URL": cluster.url(name), "BILLING_RELEASE": "r1", "BILLING_SLOT": "blue", "GIT_SHA": "abc"}
    api = ThreadApi({**env, "BILLING_VERSION": "1.0.0"}, name)
    yield api
    api.close()


@pytest.fixture
def client(shared_api: ThreadApi) -> httpx.Client:
    """A client of the shared server."""
    return shared_api.client


_names = iter(range(1, 10_000))


@pytest.fixture
def customer(client: httpx.Client) -> int:
    """A customer on the shared server, by id."""
    return new_customer(client)


def new_customer(client: httpx.Client) -> int:
    answer = client.post("/customers", json={"name": "Ada", "email": f"ada{next(_names)}@example.org"})
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])
