# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The switch: render the upstream file, test, reload, and know when the last worker from before is gone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from .docker import Docker
from .health import ask_socket
from .release import Container, RolloutError

CONFIG = "/etc/nginx/billing/nginx.conf"  # Where role nginx mounts its directory in the container.
PROOF_HEADER = "X-Billing-Upstream"


def render_upstream(service: str, servers: Sequence[str]) -> bytes:
    """Return the upstream file for a list of `address:port`.

    No upstream keep-alive and no passive failure marking: both lose requests when the application closes first. The
    server on a socket inside the container tells which address answers, so that a switch can be proven.
    """
    lines = "".join(f"    server {server} max_fails=0;\n" for server in servers)
    return f"""\
# Owned by billing.infrastructure: which slot gets the traffic.
upstream {service} {{
    zone {service} 64k;
{lines}    keepalive 0;
}}
server {{
    listen unix:{_socket(service)};
    access_log off;
    location / {{
        proxy_pass http://{service};
        proxy_set_header Connection close;
        add_header {PROOF_HEADER} $upstream_addr always;
    }}
}}
""".encode()


def _socket(service: str) -> str:
    return f"/run/prove-{service}.sock"


def answering(container: Container, service: str, path: str) -> tuple[str, int] | None:
    """Return which `address:port` a request through a running Nginx reaches now, and its status; '' for none.

    None: it listens no longer, because it quits, or not yet.
    """
    # Through the container's own root directory: no process has to be started in it, and no port is needed.
    socket = f"/proc/{container.pid}/root{_socket(service)}"
    answer = ask_socket(socket, path, PROOF_HEADER)
    if answer is None:
        return None
    value, status = answer
    return value.rpartition(",")[2].strip(), status


def reload(docker: Docker, container: Container) -> set[int]:
    """Test the configuration and reload Nginx, in one command.

    Returns:
        Its workers from before. While one of them is left, the old upstream is still used.

    Raises:
        RolloutError: nginx_invalid, with Nginx's own words; it then serves as before.
    """
    before = workers(container.pid)
    # Not `docker kill`: any signal it sends ends the restart policy (github.com/moby/moby/issues/41302).
    script = f"nginx -t -q -c {CONFIG} && nginx -s reload -c {CONFIG}"
    result = docker.run("exec", container.id, "sh", "-c", script, check=False)
    # A master that ended meanwhile has refused nothing: started again it is another one, and is reloaded then.
    if result.returncode != 0 and _command(container.pid):
        raise RolloutError(
            "nginx_invalid",
            "nginx refuses its configuration, so it was not reloaded and serves as before: "
            + (result.stderr.strip() or result.stdout.strip()),
            {"rc": result.returncode},
        )
    return before


def remaining(pids: Iterable[int]) -> set[int]:
    """Return which of these workers are still there."""
    return {pid for pid in pids if b"worker process" in _command(pid)}


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
