# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What the parts share: why a server is not ready, where everything lies, commands and files."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

MEBIBYTE = 1 << 20
AWS_SECONDS = 300.0


class NotReadyError(Exception):
    """Why the server does not serve yet. The message says what is wrong with what, and what to do.

    state: `waiting` for something outside that may come by itself, `failed` where a person is needed.
    """

    state = "failed"


class WaitingError(NotReadyError):
    """Something is not there yet."""

    state = "waiting"


class Paths:
    """Where everything lies; tests give another root."""

    def __init__(self, root: str = "/") -> None:
        base = Path(root)
        self.config = base / "etc/billing-bootstrap/config.json"
        self.variables = base / "etc/billing-bootstrap/variables.json"
        self.library = base / "var/lib/billing-bootstrap"
        self.bundles = self.library / "bundles"
        self.run = base / "run/billing-bootstrap"
        self.status = self.run / "status.json"
        self.secrets = base / "run/billing-bootstrap-secrets"
        self.dpkg_updates = base / "var/lib/dpkg/updates"
        self.fstab = base / "etc/fstab"
        self.docker_unit = base / "etc/systemd/system/docker.service.d/billing-data.conf"
        self.console = base / "dev/console"


def run(argv: list[str], timeout: float, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, for `timeout` seconds at most. What it prints may be a secret: only errors are told."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False, **options)
    except subprocess.TimeoutExpired as error:
        raise WaitingError(f"{argv[0]} took longer than {timeout:.0f} s") from error
    except OSError as error:
        raise NotReadyError(f"{argv[0]} cannot be run: {error.strerror}") from error


def must(argv: list[str], timeout: float = 120, **options: Any) -> str:
    """Run a command that has to succeed, and return what it printed."""
    done = run(argv, timeout, **options)
    if done.returncode != 0:
        raise NotReadyError(f"`{' '.join(argv)}` ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that it is there whole or not at all, also after a power failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def say(text: str) -> None:
    """Print one line; systemd puts it into the journal."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def aws(*words: str, region: "str | None") -> list[str]:
    """Return the command line of an AWS call. Credentials come from the instance's role."""
    return ["aws", *words, *(["--region", region] if region else [])]
