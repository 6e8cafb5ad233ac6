# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: ARG002 - the stand-in takes the arguments of what it stands for
"""The upstream file and the workers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from plugins.module_utils._rollout.docker import Docker, Result
from plugins.module_utils._rollout.nginx import reload, remaining, render_upstream, workers
from plugins.module_utils._rollout.release import Container, RolloutError

WORKER = "import time; print('started', flush=True); time.sleep(30) # worker process"


def test_every_replica_is_a_server_that_is_never_marked_down() -> None:
    text = render_upstream("api", ["10.201.0.11:8000", "10.201.0.12:8000"]).decode()
    assert "    server 10.201.0.11:8000 max_fails=0;\n    server 10.201.0.12:8000 max_fails=0;\n" in text
    assert "keepalive 0;" in text


def test_workers_are_found_below_their_master_only() -> None:
    child = subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()  # from here on its command line can be read
        assert child.pid in workers(os.getpid())
        assert child.pid not in workers(child.pid)
        assert remaining({child.pid, os.getpid()}) == {child.pid}
    finally:
        child.kill()
        child.communicate()
    assert child.pid not in workers(os.getpid())


class Refusing(Docker):
    """An engine in which no command in a container succeeds."""

    def run(self, *arguments: str, timeout: float = 60.0, check: bool = True) -> Result:
        return Result(arguments, 1, "", "unknown directive")


@pytest.mark.parametrize("alive", [True, False])
def test_a_refused_configuration_is_named_but_a_dead_nginx_is_looked_at_again(tmp_path: Path, alive: bool) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    nginx = Container(
        "n", "nginx-blue", "", "", "running", "", 0, os.getpid() if alive else ended.pid, "2026-01-01T00:00:00Z"
    )
    if alive:
        with pytest.raises(RolloutError, match="unknown directive"):
            reload(Refusing(tmp_path, "billing"), nginx)
    else:
        assert reload(Refusing(tmp_path, "billing"), nginx) == set()
