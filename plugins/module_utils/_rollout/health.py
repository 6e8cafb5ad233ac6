# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates: what must hold before traffic moves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from .docker import Docker, cause
from .release import Container, RolloutError

_POLL = 0.2


def wait_serving(docker: Docker, services: Sequence[str], timeout: float, restarts: Mapping[str, int]) -> None:
    """Wait until every service runs and is healthy.

    A container that ended or that Docker had to restart fails the gate at once: waiting would not mend it.

    Args:
        docker: the engine.
        services: Compose service names.
        timeout: seconds.
        restarts: restarts that containers had before, by container id; they do not count.

    Raises:
        RolloutError: unhealthy (or the cause its log names), with the container's last log lines.
    """
    deadline = time.monotonic() + timeout
    while True:
        found = {container.service: container for container in docker.containers() if container.service in services}
        waiting = [container for container in found.values() if not container.serving]
        if len(found) == len(services) and not waiting:
            return
        for container in waiting:
            if container.restarts > restarts.get(container.id, 0):
                raise _unhealthy(docker, container, "ended and was restarted by Docker")
            if container.state in ("exited", "dead") or container.health == "unhealthy":
                raise _unhealthy(docker, container, f"failed (state: {_words(container)})")
        if time.monotonic() > deadline:
            if waiting:
                what = f"is not healthy after {timeout:.0f} s (state: {_words(waiting[0])})"
                raise _unhealthy(docker, waiting[0], what)
            missing = ", ".join(sorted(set(services) - set(found)))
            raise RolloutError("unhealthy", f"no container of {missing} appeared in {timeout:.0f} s; see docker events")
        time.sleep(_POLL)


def _words(container: Container) -> str:
    return ", ".join(filter(None, (container.state, container.health)))


def _unhealthy(docker: Docker, container: Container, what: str) -> RolloutError:
    logs = docker.logs(container)
    known = cause("\n".join(logs))
    code, advice = known or ("unhealthy", "its last log lines are in failure.logs")
    last = f" Last line: {logs[-1][:300]}" if logs else " It wrote nothing."
    return RolloutError(
        code,
        f"the new container of {container.service} ({container.image}) {what}; {advice}.{last}",
        {"service": container.service, "image": container.image, "state": container.state, "health": container.health},
        logs,
    )
