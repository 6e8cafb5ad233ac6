# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The switch: render the upstream file, test, reload, and know when the last worker from before is gone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from .docker import Docker
from .release import Container, RolloutError

CONFIG = "/etc/nginx/billing/nginx.conf"  # Where role nginx mounts its directory in the container.
_POLL = 0.1


def render_upstream(service: str, servers: Sequence[str]) -> str:
    """Return the upstream file for a list of `address:port`.

    No upstream keep-alive and no passive failure marking: both lose requests when the application closes first.
    """
    lines = "".join(f"    server {server} max_fails=0;\n" for server in servers)
    return (
        "# Owned by billing.infrastructure: which slot gets the traffic.\n"
        f"upstream {service} {{\n    zone {service} 64k;\n{lines}    keepalive 0;\n}}\n"
    )


def test_config(docker: Docker, container: Container) -> None:
    """Run `nginx -t` in a running Nginx; raise RolloutError nginx_invalid with its words."""
    result = docker.run("exec", container.id, "nginx", "-t", "-q", "-c", CONFIG, check=False)
    if result.returncode != 0:
        raise RolloutError(
            "nginx_invalid",
            "nginx refuses its configuration, so it was not reloaded and serves as before: "
            + (result.stderr.strip() or result.stdout.strip()),
            {"rc": result.returncode},
        )


def reload(docker: Docker, container: Container, timeout: float) -> None:
    """Reload Nginx and wait until no worker from before is left: only then does nobody use the old upstream.

    Args:
        docker: the engine.
        container: the Nginx that has the traffic.
        timeout: seconds; longer than worker_shutdown_timeout, after which Nginx itself ends an old worker.
    """
    before = workers(container.pid)
    # Not `docker kill`: any signal it sends ends the restart policy (github.com/moby/moby/issues/41302).
    docker.run("exec", container.id, "nginx", "-s", "reload", "-c", CONFIG)
    deadline = time.monotonic() + timeout
    while before & workers(container.pid) or not workers(container.pid) - before:
        if time.monotonic() > deadline:
            raise RolloutError(
                "drain_timeout",
                f"Nginx workers from before the reload still serve after {timeout:.0f} s; "
                "is worker_shutdown_timeout longer than that?",
            )
        time.sleep(_POLL)


def workers(master: int) -> set[int]:
    """Return the process ids of the workers below a container's first process, as the host sees them."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The command name may hold spaces and brackets; what follows the last bracket is fixed (proc(5)).
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # The process ended while we looked.
    return {pid for pid in parents if _descends(pid, master, parents) and b"worker process" in _command(pid)}


def _descends(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == ancestor:
            return True
    return False


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
