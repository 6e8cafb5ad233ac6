# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How docker's words become causes, and its JSON containers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plugins.module_utils._rollout.docker import Docker, cause
from plugins.module_utils._rollout.release import RolloutError

INSPECT = """[{"Id": "c1", "RestartCount": 2, "Config": {"Image": "r/x@sha256:1", "Labels":
{"com.docker.compose.service": "postgres", "billing.config-hash": "h"}},
"State": {"Status": "running", "Pid": 7, "StartedAt": "2026-01-01T00:00:00Z", "Health": {"Status": "starting"}}}]"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    """Return an engine whose `docker` is a script: it fails as Docker does not fail on demand."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Docker(tmp_path, "billing")


def answer(docker: Docker, script: str) -> None:
    command = docker.root / "docker"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("write /var/lib/docker/x: no space left on device", "disk_full"),
        ("bind() to 0.0.0.0:80 failed (98: Address already in use)", "port_taken"),
        ("manifest unknown: manifest unknown", "image_unknown"),
        ("toomanyrequests: slow down", "registry_throttled"),
        ("manifest verification failed for digest sha256:1", "digest_mismatch"),
        ('Get "https://r/v2/": context deadline exceeded', "registry_unreachable"),
        ("download failed after attempts=1: unauthorized: no", "registry_unauthorized"),
        ("download failed after attempts=6: unexpected EOF", "registry_unreachable"),
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock", "docker_down"),
    ],
)
def test_known_causes_have_a_code(words: str, code: str) -> None:
    found = cause(words)
    assert found is not None
    assert found[0] == code


def test_a_failed_command_carries_return_code_and_words(docker: Docker) -> None:
    answer(docker, "echo 'no space left on device' >&2; exit 3")
    with pytest.raises(RolloutError) as raised:
        docker.run("pull", "x")
    assert raised.value.code == "disk_full"
    assert (raised.value.details["rc"], raised.value.details["stderr"]) == (3, "no space left on device")


def test_a_hanging_command_ends_at_its_timeout(docker: Docker) -> None:
    answer(docker, "exec sleep 30")
    with pytest.raises(RolloutError) as raised:
        docker.run("pull", "x", timeout=0.2)
    assert raised.value.code == "timeout"


def test_a_pull_that_says_yes_but_brings_another_digest_is_refused(docker: Docker) -> None:
    answer(docker, """case "$1" in image) echo '["r/x@sha256:other"]';; esac""")
    with pytest.raises(RolloutError) as raised:
        docker.pull("r/x@sha256:wanted", timeout=5)
    assert raised.value.code == "digest_mismatch"


def test_containers_are_read_from_inspect(docker: Docker) -> None:
    answer(docker, f"case \"$1\" in ps) echo c1;; inspect) cat <<'END'\n{INSPECT}\nEND\n;; esac")
    (container,) = docker.containers()
    assert (container.service, container.config_hash, container.restarts, container.pid) == ("postgres", "h", 2, 7)
    assert not container.serving
