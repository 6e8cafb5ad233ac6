# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What the registry and the hosts ask of the engine: labelled containers and volumes, files put into containers."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.lab.shell import LabError, run

LABEL = "billing.lab"


@dataclass(frozen=True)
class File:
    """A file to put into a container before it starts; it belongs to root."""

    content: str | bytes
    mode: int = 0o600


def inspect(container: str) -> dict[str, Any] | None:
    """What the engine knows about a container, or None where there is none."""
    found = run(["docker", "container", "inspect", container], check=False)
    if found.returncode != 0:
        return None
    result: dict[str, Any] = json.loads(found.stdout)[0]
    return result


def state(container: str) -> str:
    """What a container does: running, exited, ... or absent."""
    found = inspect(container)
    return str(found["State"]["Status"]) if found else "absent"


def start_new(
    name: str, lab: str, image: str, options: Sequence[str], labels: Mapping[str, str], files: Mapping[str, File]
) -> None:
    """Create a container, put files into it and start it."""
    marks = [word for key, value in {LABEL: lab, **labels}.items() for word in ("--label", f"{key}={value}")]
    run(["docker", "create", "--name", name, *marks, *options, image])
    _put_files(name, files)
    run(["docker", "start", name])


def remove_unfinished(container: str) -> None:
    """Remove a container that was created but never started: whoever made it was killed before it was complete."""
    if state(container) == "created":
        run(["docker", "rm", container])


def _put_files(container: str, files: Mapping[str, File]) -> None:
    """Copy files into a container as an archive on standard input: their content is in no argument and no layer."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, file in files.items():
            content = file.content.encode() if isinstance(file.content, str) else file.content
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(content), file.mode
            archive.addfile(entry, io.BytesIO(content))
    done = subprocess.run(
        ["docker", "cp", "-", f"{container}:/"], input=buffer.getvalue(), capture_output=True, check=False
    )
    if done.returncode != 0:
        raise LabError(f"cannot copy files into {container}: {done.stderr.decode().strip()}")


def ensure_volume(volume: str, lab: str) -> None:
    """Create a volume that belongs to the lab; one that exists is kept with its data."""
    run(["docker", "volume", "create", "--label", f"{LABEL}={lab}", volume])


def remove_volume(volume: str) -> None:
    """Remove a volume and its data; one that does not exist is fine."""
    done = run(["docker", "volume", "rm", volume], check=False)
    if done.returncode != 0 and "no such volume" not in done.stderr.lower():
        raise LabError(f"cannot remove the volume {volume}: {done.stderr.strip()}")


def names(kind: str, lab: str) -> list[str]:
    """Names of the lab's containers, volumes or networks (kind: ``container``, ``volume``, ``network``)."""
    fields = {"container": "{{.Names}}", "volume": "{{.Name}}", "network": "{{.Name}}"}
    everything = ["--all"] if kind == "container" else []
    listed = run(["docker", kind, "ls", *everything, "--filter", f"label={LABEL}={lab}", "--format", fields[kind]])
    return sorted(listed.stdout.split())
