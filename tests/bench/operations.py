# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What is done to the server under load: our operations, and what people do today in their place."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tests.bench.server import OperationFailedError, Server

# Old workers of Nginx use the configuration from before, so a reload is over when none of them is left.
_OLD_WORKERS = (
    'proxy="$(docker ps --quiet --filter label=billing.service=nginx)"\n'
    'master="$(docker inspect --format \'{{.State.Pid}}\' "$proxy")"\n'
    'old="$(grep -lsx "PPid:[[:space:]]*$master" /proc/[0-9]*/status || true)"'
)
_RELOAD = 'docker exec "$proxy" nginx -s reload -c /etc/nginx/billing/nginx.conf'
_NO_OLD_WORKER = 'for one in $old; do while grep -qsx "PPid:[[:space:]]*$master" "$one"; do sleep 0.1; done; done'


@dataclass(frozen=True)
class Step:
    """One operation of a cycle. ``prepare`` comes before its time begins, and does nothing that clients can notice."""

    name: str
    perform: Callable[[], object]
    prepare: Callable[[], object] = lambda: None


def ours(server: Server) -> dict[str, Sequence[Step]]:
    """Return what the collection does, name -> cycle; every request in all of it must succeed."""
    rollout = Step("rollout", server.roll_out, server.publish)
    config = Step("config_change", partial(server.engine, "apply"), partial(_change_environment, server))
    return {
        "rollout": [rollout],
        # What was rolled back is quarantined, so there is something new to roll back each time.
        "rollback": [rollout, Step("rollback", partial(_roll_back, server))],
        "config_change": [config],
        "handover": [Step("handover", partial(server.engine, "restart", "nginx"))],
        "nginx_reload": [Step("nginx_reload", partial(_reload, server))],
        "docker_restart": [Step("docker_restart", partial(_restart_docker, server))],
    }


class Baselines:
    """What people do today, on the same server. ``restore`` brings the server back, without load."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._images: list[str] = []

    def cycles(self) -> dict[str, Sequence[Step]]:
        """Return them, name -> cycle."""
        return {
            "compose_up": [Step("compose_up", self._compose_up, self._publish)],
            "plain_switch": [Step("plain_switch", self._plain_switch, self._publish)],
        }

    def restore(self) -> None:
        """Let the engine make the server true to its record again, and remove the images that it does not know.

        Raises:
            OperationFailedError: the engine cannot.
        """
        self._server.publish()
        self._server.roll_out()
        self._server.shell(f"docker image rm --force {' '.join(self._images)} || true")
        self._images.clear()

    def _publish(self) -> None:
        self._images.append(self._server.publish())
        self._server.shell(f"docker pull --quiet {self._images[-1]}")

    def _compose_up(self) -> None:
        """`docker compose up -d` with another image for the container that serves."""
        slot = _Slots(self._server).live
        service = f"api-{slot}-1"
        self._server.shell(
            f"export API_{slot.upper()}_IMAGE={self._images[-1]}\n"
            f"docker compose up --detach --no-deps {service}\n"
            "until docker ps --filter health=healthy --format '{{.Label \"com.docker.compose.service\"}}' "
            f"| grep -qx {service}; do sleep 0.1; done"
        )

    def _plain_switch(self) -> None:
        """Start the idle slot, write the upstream file, reload Nginx, and stop the old slot without waiting."""
        slots = _Slots(self._server)
        old, new = slots.serving, "blue" if slots.serving == "green" else "green"
        name = f"API_{new.upper()}"
        self._server.shell(
            f"export {name}_IMAGE={self._images[-1]} {name}_RELEASE={slots.folder} {name}_CONFIG_HASH=bench\n"
            f"docker compose -f compose.yaml -f {slots.folder}/{new}.yaml up --detach --no-deps --wait api-{new}-1\n"
            f"sed -i 's/{slots.addresses[old]}/{slots.addresses[new]}/' nginx/upstreams/api.conf\n"
            f"{_OLD_WORKERS}\n{_RELOAD}\n"
            f'old_slot="$(docker ps -q --filter label=com.docker.compose.service=api-{old}-1)"\n'
            'docker stop "$old_slot"; docker rm "$old_slot"\n'
            f"{_NO_OLD_WORKER}"
        )


class _Slots:
    """Which slot serves, by the engine's record and by Nginx, which a baseline does not tell the engine about."""

    def __init__(self, server: Server) -> None:
        record = json.loads(server.shell("cat state/api.json"))
        self.live: str = record["live"]
        release = record["slots"][self.live]
        self.addresses: dict[str, str] = {slot: servers[0] for slot, servers in release["addresses"].items()}
        identity = f"{release['image'].rpartition(':')[2][:12]}-{release['config_hash'][:8]}"
        self.folder = f"releases/api/{identity}"
        upstream = server.shell("cat nginx/upstreams/api.conf")
        self.serving = next(slot for slot, address in self.addresses.items() if address in upstream)


def _roll_back(server: Server) -> None:
    outcome = server.engine("rollback")
    if outcome["after"]["digest"] == server.digest:
        raise OperationFailedError("after the rollback the release from before it serves", outcome)


def _change_environment(server: Server) -> None:
    """Write another value of a variable that the application does not read."""
    server.shell("sed -i '/^BENCH_CHANGE=/d' api.env; echo \"BENCH_CHANGE=$(date +%s%N)\" >> api.env")


def _reload(server: Server) -> None:
    server.shell(f"{_OLD_WORKERS}\n{_RELOAD}\n{_NO_OLD_WORKER}")


def _restart_docker(server: Server) -> None:
    # systemd lets nobody start a unit too often; that is not what is measured.
    server.shell("systemctl reset-failed docker; systemctl restart docker; docker info >/dev/null")
