# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The lab's images keep the contract of the official images they stand in for (images/*/README.md).

Real containers, removed after each test: ``pytest tests/lab/test_images.py``.
"""

from __future__ import annotations

import gzip
import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import engine
from tests.lab.builder import Builder
from tests.lab.shell import run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def images() -> dict[str, str]:
    engine.ensure(ROOT / "build" / "lab")
    return Builder().build(["nginx", "postgres", "python", "registry"])


class Container:
    """A container for one test."""

    def __init__(self, image: str, options: tuple[str, ...], command: tuple[str, ...]) -> None:
        self.name = f"billing-lab-images-{uuid.uuid4().hex[:8]}"
        run(["docker", "run", "--detach", "--name", self.name, *options, image, *command])

    def exec(self, *command: str, user: str = "", check: bool = True) -> str:
        chosen = ["--user", user] if user else []
        done = run(["docker", "exec", *chosen, self.name, *command], check=check)
        return (done.stdout + done.stderr).strip()

    def sh(self, script: str) -> str:
        return self.exec("sh", "-c", script)

    def logs(self) -> str:
        done = run(["docker", "logs", self.name])
        return done.stdout + done.stderr

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(run(["docker", "inspect", self.name]).stdout)[0]["State"]
        return state

    def wait_for(self, *command: str, seconds: float = 40) -> None:
        deadline = time.monotonic() + seconds
        while run(["docker", "exec", self.name, *command], check=False).returncode != 0:
            assert time.monotonic() < deadline, self.logs()
            assert self.state()["Running"], self.logs()
            time.sleep(0.1)

    def exit_code(self, seconds: float = 30) -> int:
        return int(run(["docker", "wait", self.name], timeout=seconds).stdout)

    def restart(self) -> None:
        run(["docker", "restart", "--time", "20", self.name])

    def stop(self) -> int:
        run(["docker", "stop", "--time", "20", self.name])
        return int(self.state()["ExitCode"])


Start = Callable[..., Container]


@pytest.fixture
def start(images: dict[str, str]) -> Iterator[Start]:
    started: list[str] = []

    def begin(image: str, *options: str, command: tuple[str, ...] = ()) -> Container:
        container = Container(images[image], options, command)
        started.append(container.name)
        return container

    yield begin
    for name in started:
        run(["docker", "rm", "--force", "--volumes", name], check=False)


def config_of(image: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(run(["docker", "image", "inspect", image]).stdout)[0]["Config"]
    return config


# -- nginx


def nginx_ready(container: Container) -> None:
    container.wait_for("curl", "--fail", "--silent", "--output", "/dev/null", "http://127.0.0.1/")


def test_nginx_declares_what_the_official_image_declares(images: dict[str, str]) -> None:
    config = config_of(images["nginx"])
    assert config["Entrypoint"] == ["/docker-entrypoint.sh"]
    assert config["Cmd"] == ["nginx", "-g", "daemon off;"]
    assert config["StopSignal"] == "SIGQUIT"
    assert list(config["ExposedPorts"]) == ["80/tcp"]


def test_nginx_serves_as_101_and_logs_to_the_container(start: Start) -> None:
    nginx = start("nginx")
    nginx_ready(nginx)
    owners = nginx.sh("for p in /proc/[0-9]*; do [ -r $p/comm ] && echo $(cat $p/comm) $(stat -c %u $p); done")
    assert "nginx 0" in owners.splitlines()
    assert "nginx 101" in owners.splitlines()
    nginx.exec("curl", "--silent", "http://127.0.0.1/missing")
    assert '"GET /missing HTTP/1.1" 404' in nginx.logs()
    assert nginx.stop() == 0


def test_nginx_knows_the_setting_that_makes_a_reload_lossless(start: Start) -> None:
    nginx = start("nginx")
    nginx_ready(nginx)
    nginx.sh("echo 'keepalive_min_timeout 10s;' > /etc/nginx/conf.d/a.conf")
    assert "test is successful" in nginx.exec("nginx", "-t")


def test_nginx_prepares_itself_from_entrypoint_parts_and_templates(start: Start, tmp_path: Path) -> None:
    parts, templates = tmp_path / "parts", tmp_path / "templates"
    parts.mkdir()
    templates.mkdir()
    (parts / "05-name.envsh").write_text("export ANSWER=forty-two\n")
    (parts / "40-mark.sh").write_text("#!/bin/sh\necho mark $ANSWER >&2\n")
    (parts / "50-not-executable.sh").write_text("#!/bin/sh\nexit 1\n")
    for name in ("05-name.envsh", "40-mark.sh"):
        (parts / name).chmod(0o755)
    (templates / "default.conf.template").write_text(
        "server { listen 80; location / { return 200 '$ANSWER $uri'; } }\n"
    )
    mounts = [f"--volume={part}:/docker-entrypoint.d/{part.name}:ro" for part in parts.iterdir()]
    nginx = start("nginx", *mounts, f"--volume={templates}:/etc/nginx/templates:ro")
    nginx_ready(nginx)
    assert nginx.exec("curl", "--silent", "http://127.0.0.1/path") == "forty-two /path"
    assert "mark forty-two" in nginx.logs()
    assert "Ignoring /docker-entrypoint.d/50-not-executable.sh" in nginx.logs()


def test_nginx_runs_read_only_and_buffers_bodies_below_var_cache(start: Start, tmp_path: Path) -> None:
    conf = "server { listen 80; client_body_buffer_size 1k; location / { proxy_pass http://127.0.0.1:81; } }\n"
    (tmp_path / "default.conf").write_text(conf + "server { listen 81; location / { return 200 whole; } }\n")
    keep = [f"--cap-add={name}" for name in ("CHOWN", "SETUID", "SETGID", "NET_BIND_SERVICE")]
    nginx = start(
        "nginx", "--read-only", "--cap-drop=ALL", *keep, "--tmpfs=/var/cache/nginx", "--tmpfs=/run", "--tmpfs=/tmp",
        f"--volume={tmp_path}:/etc/nginx/conf.d:ro",
    )  # fmt: skip
    nginx_ready(nginx)
    sent = nginx.sh("head -c 300000 /dev/zero | curl --silent --data-binary @- http://127.0.0.1/")
    assert sent == "whole", nginx.logs()


# -- postgres


def postgres_ready(container: Container, user: str = "postgres") -> None:
    container.wait_for("pg_isready", "--host=127.0.0.1", f"--username={user}")


def query(container: Container, sql: str, user: str = "postgres", database: str = "postgres") -> str:
    return container.exec("psql", "-XAtq", "-U", user, "-d", database, "-c", sql)


def login(container: Container, password: str, user: str = "postgres", database: str = "postgres") -> str:
    """Log in from outside the trusted loopback."""
    script = f"PGPASSWORD='{password}' psql -XAtq -h $(hostname -i) -U {user} -d {database} -c 'SELECT 1' 2>&1 || true"
    return container.sh(script)


def test_postgres_declares_what_the_official_image_declares(images: dict[str, str]) -> None:
    config = config_of(images["postgres"])
    assert config["Entrypoint"] == ["docker-entrypoint.sh"]
    assert config["Cmd"] == ["postgres"]
    assert config["StopSignal"] == "SIGINT"
    assert list(config["ExposedPorts"]) == ["5432/tcp"]
    assert list(config["Volumes"]) == ["/var/lib/postgresql/data"]
    assert "PGDATA=/var/lib/postgresql/data" in config["Env"]
    assert not config["User"]


def test_postgres_takes_user_password_and_database_from_files(start: Start, tmp_path: Path) -> None:
    for name, value in {"user": "bill", "password": "pass word", "db": "books"}.items():
        (tmp_path / name).write_text(f"{value}\n")
    variables = [f"--env=POSTGRES_{name.upper()}_FILE=/in/{name}" for name in ("user", "password", "db")]
    postgres = start("postgres", *variables, f"--volume={tmp_path}:/in:ro")
    postgres_ready(postgres, "bill")
    assert query(postgres, "SELECT current_database()", "bill", "books") == "books"
    assert login(postgres, "pass word", "bill", "books") == "1"
    assert "password authentication failed" in login(postgres, "wrong", "bill", "books")
    assert postgres.exec("stat", "-c", "%u:%g %a", "/var/lib/postgresql/data") == "999:999 700"
    assert "host all all all scram-sha-256" in postgres.exec("cat", "/var/lib/postgresql/data/pg_hba.conf")


def test_postgres_initializes_once_and_unreachable_from_outside(start: Start, tmp_path: Path) -> None:
    (tmp_path / "1.sql").write_text("CREATE TABLE t (v text);\n")
    (tmp_path / "2.sh").write_text(
        "pg_isready -q -h 127.0.0.1 && seen=open || seen=closed\n"
        'psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "INSERT INTO t VALUES (\'$seen\')"\n'
    )
    (tmp_path / "3.txt").write_text("not for the database\n")
    (tmp_path / "4.sql.gz").write_bytes(gzip.compress(b"INSERT INTO t VALUES ('packed');"))
    tmp_path.chmod(0o755)
    postgres = start(
        "postgres", "--env=POSTGRES_PASSWORD=one", "--env=POSTGRES_DB=books",
        f"--volume={tmp_path}:/docker-entrypoint-initdb.d:ro",
    )  # fmt: skip
    postgres_ready(postgres)
    rows = "SELECT string_agg(v, ',' ORDER BY v) FROM t"
    assert query(postgres, rows, database="books") == "closed,packed"
    assert "ignoring /docker-entrypoint-initdb.d/3.txt" in postgres.logs()
    postgres.restart()
    postgres_ready(postgres)
    assert query(postgres, rows, database="books") == "closed,packed"
    assert postgres.logs().count("Skipping initialization") == 1
    assert login(postgres, "one", database="books") == "1"


def test_postgres_honours_initdb_arguments_pgdata_and_wal_directory(start: Start) -> None:
    postgres = start(
        "postgres", "--env=POSTGRES_PASSWORD=x", "--env=PGDATA=/var/lib/postgresql/data/17/main",
        "--env=POSTGRES_INITDB_ARGS=--data-checksums --locale-provider=builtin --locale=C.UTF-8",
        "--env=POSTGRES_INITDB_WALDIR=/var/lib/postgresql/wal",
        command=("-c", "max_connections=7"),
    )  # fmt: skip
    postgres_ready(postgres)
    assert query(postgres, "SHOW data_checksums") == "on"
    assert query(postgres, "SHOW max_connections") == "7"
    assert query(postgres, "SELECT datlocprovider FROM pg_database WHERE datname = 'postgres'") == "b"
    assert postgres.exec("readlink", "/var/lib/postgresql/data/17/main/pg_wal") == "/var/lib/postgresql/wal"


@pytest.mark.parametrize("uid", [999, 4711], ids=["postgres", "unknown"])
def test_postgres_runs_as_another_user_read_only_and_without_capabilities(start: Start, uid: int) -> None:
    postgres = start(
        "postgres", f"--user={uid}:{uid}", "--read-only", "--cap-drop=ALL", "--env=POSTGRES_PASSWORD=x",
        f"--tmpfs=/var/lib/postgresql/data:uid={uid},gid={uid},mode=0700", "--tmpfs=/var/run/postgresql:mode=1777",
        "--tmpfs=/tmp:mode=1777",
    )  # fmt: skip
    postgres_ready(postgres)
    assert login(postgres, "x") == "1"
    assert postgres.stop() == 0


def test_postgres_starts_as_root_with_only_the_capabilities_it_needs(start: Start) -> None:
    keep = [f"--cap-add={name}" for name in ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID")]
    postgres = start("postgres", "--cap-drop=ALL", *keep, "--env=POSTGRES_PASSWORD=x")
    postgres_ready(postgres)
    assert login(postgres, "x") == "1"
    assert postgres.exec("stat", "-c", "%u", "/proc/1") == "999"
    assert postgres.stop() == 0


def test_postgres_refuses_an_empty_password(start: Start) -> None:
    postgres = start("postgres")
    assert postgres.exit_code() == 1
    assert "POSTGRES_PASSWORD_FILE" in postgres.logs()


def test_postgres_accepts_no_password_where_everyone_is_trusted(start: Start) -> None:
    postgres = start("postgres", "--env=POSTGRES_HOST_AUTH_METHOD=trust")
    postgres_ready(postgres)
    assert login(postgres, "") == "1"
    assert "WARNING" in postgres.logs()


def test_postgres_refuses_a_variable_together_with_its_file(start: Start) -> None:
    postgres = start("postgres", "--env=POSTGRES_PASSWORD=x", "--env=POSTGRES_PASSWORD_FILE=/etc/hostname")
    assert postgres.exit_code() == 1
    assert "both POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE" in postgres.logs()


def test_postgres_runs_another_command_as_it_is(start: Start) -> None:
    postgres = start("postgres", command=("postgres", "--version"))
    assert postgres.exit_code() == 0
    assert "PostgreSQL) 17." in postgres.logs()


# -- python, registry


def test_python_is_complete_and_installs_into_the_system(start: Start) -> None:
    python = start("python", "--network=host", command=("sleep", "60"))
    assert python.exec("python", "--version").startswith("Python 3.13.")
    python.exec("pip", "install", "--quiet", "iniconfig")
    assert python.exec("python", "-c", "import iniconfig; print('imported')") == "imported"
    python.exec("python", "-m", "venv", "/opt/venv")
    python.exec("/opt/venv/bin/pip", "install", "--quiet", "iniconfig")


def test_registry_declares_port_and_volume_and_takes_variables(images: dict[str, str], start: Start) -> None:
    config = config_of(images["registry"])
    assert list(config["ExposedPorts"]) == ["5000/tcp"]
    assert list(config["Volumes"]) == ["/var/lib/registry"]
    registry = start("registry", "--env=REGISTRY_HTTP_ADDR=:5005")
    registry.wait_for(
        "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/5005; printf 'GET /v2/ HTTP/1.0\\r\\n\\r\\n' >&3; grep -q 200 <&3"
    )
