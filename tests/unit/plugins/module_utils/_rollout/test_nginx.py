# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The upstream file and the workers."""

from __future__ import annotations

import os
import subprocess
import sys

from plugins.module_utils._rollout.nginx import remaining, render_upstream, workers

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
