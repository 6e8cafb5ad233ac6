# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Look at machines: what a server consists of, and which command lines are to be seen while something runs."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import TracebackType

from tests.integration.remote import Remote

# Ansible's own temporary files, what the login itself writes, and Docker's own store come and go.
_SNAPSHOT = r"""
left_out() {
    for path in /proc /sys /run /tmp /root/.ansible /var/log /var/cache/apt /var/lib/systemd/timers; do
        printf -- '-path %s -o ' "$path"
    done
}
find / /srv/billing -xdev \( $(left_out) -false \) -prune -o ! -type d -printf '%p %y %m %U:%G %s %T@ %l\n' | sort -u
find / /srv/billing -xdev \( $(left_out) -false \) -prune -o -type d -printf '%p %m %U:%G\n' | sort -u
dpkg-query --show
ss -Hltnu | awk '{print $1, $5}' | sort
nft list ruleset 2>/dev/null || true
systemctl list-unit-files --no-legend
cat /proc/sys/net/ipv4/ip_forward
cat /proc/sys/net/ipv4/tcp_migrate_req
ip -o link | cut -d: -f2
"""

_WATCH = r"""
import json, os, select, sys, time
seen = set()
while not select.select([sys.stdin], [], [], 0.05)[0]:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                seen.add(file.read().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            pass
print(json.dumps(sorted(seen)))
"""


def snapshot(server: Remote) -> list[str]:
    """Return one line per file, package, listening port, unit and kernel setting that a deployment might change."""
    return server.sh(_SNAPSHOT).splitlines()


class CommandLines:
    """Collects every command line that `ps` would have shown, on a host and on this machine, while a block runs."""

    def __init__(self, server: Remote) -> None:
        self.found: dict[str, set[str]] = {"host": set(), "controller": set()}
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def _loop(self) -> None:
        while not self._stop.wait(0.05):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.found["controller"].add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:
                    continue  # it ended in between

    def __enter__(self) -> CommandLines:
        self._watch = self._server.start("python3", "-c", _WATCH)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=30)
        output, problem = self._watch.communicate("stop\n", timeout=30)
        assert self._watch.returncode == 0, problem
        self.found["host"] = set(json.loads(output))
