# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be known to fail before anything is pulled or started: platform, entrypoint, disk, memory."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from .clock import instant
from .docker import Docker
from .intent import Intent
from .registry import RegistryFiles, describe, docker_architecture
from .release import Container, Reference, Release, RolloutError

_DOCKER_ROOT = Path("/var/lib/docker")
_UNPACKED = 3  # A layer unpacked is about so many times as large as packed; both are there for a while.
_MEMORY_MARGIN = 64 << 20  # Bytes.
_PAGE = os.sysconf("SC_PAGE_SIZE")


def docker_root() -> Path:
    """Return the folder that images need space in."""
    return _DOCKER_ROOT if _DOCKER_ROOT.exists() else Path("/")


def check(release: Release, intent: Intent, files: RegistryFiles, live: Sequence[Container]) -> None:
    """Refuse a release that cannot run here: platform_missing, entrypoint_missing, disk_full, memory_short.

    Args:
        release: what is to be pulled.
        intent: the service.
        files: how to ask the registry.
        live: containers of the release that goes on running meanwhile.
    """
    architecture = docker_architecture(platform.machine())
    facts = describe(Reference.parse(release.image), release.digest, files, architecture)
    if not facts.entrypoint and not facts.command:
        raise RolloutError(
            "entrypoint_missing",
            f"{release.image} has neither ENTRYPOINT nor CMD, so it cannot be started; add one to its Dockerfile",
            {"image": release.image},
        )
    root = docker_root()
    needed, free = facts.size * _UNPACKED, shutil.disk_usage(root).free
    if free < needed:
        raise RolloutError(
            "disk_full",
            f"{release.image} needs about {needed >> 20} MB below {root}, {free >> 20} MB are free; "
            "free space on this host (docker system df shows what Docker uses)",
            {"needed_bytes": needed, "free_bytes": free},
        )
    if intent.slotted and live:
        check_memory(intent, live)


def refuse_older(wanted: Release, live: Release, docker: Docker, files: RegistryFiles) -> None:
    """Refuse an image that was built before the live one: a mirror that lags behind would bring old releases back.

    Raises:
        RolloutError: older_image, and what the registry has to say.
    """
    running = docker.created(live.image)
    offered = describe(
        Reference.parse(wanted.image), wanted.digest, files, docker_architecture(platform.machine())
    ).created
    try:
        older = instant(offered) < instant(running)
    except ValueError:  # An image may say anything of itself, or nothing.
        return
    if older:
        raise RolloutError(
            "older_image",
            f"{wanted.image} was built on {offered[:19]}, before the live image ({running[:19]}): a mirror that lags "
            "behind? To go back, use billing-rollout rollback, or force it",
            {"image": wanted.image, "created": offered, "live_created": running},
        )


def check_memory(intent: Intent, live: Sequence[Container]) -> None:
    """Refuse to run a second copy beside the live one where memory is short: RolloutError memory_short."""
    needed = sum(_resident(container.pid) for container in live) + _MEMORY_MARGIN
    available = _available()
    if available < needed:
        raise RolloutError(
            "memory_short",
            f"two copies of {intent.service} run side by side during a rollout; the second needs about "
            f"{needed >> 20} MB, {available >> 20} MB are available; free some, or give the host more",
            {"needed_bytes": needed, "available_bytes": available},
        )


def _resident(pid: int) -> int:
    """Return the bytes in memory of a process and its descendants, 0 for one that is gone."""
    try:
        own = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE if pid else 0
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if pid else []
    except OSError:
        return 0
    return own + sum(_resident(int(child)) for child in children)


def _available() -> int:
    """Return the bytes of memory that new processes can have."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
