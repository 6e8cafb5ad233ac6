# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Make this server serve, with nobody logged in: packages, data volume, bundle, secrets, playbook.

cloud-init puts this program and its configuration (/etc/billing-bootstrap) on the server, a systemd timer runs it at
boot and again and again. One run goes through every phase; what is done already is left alone. A run that fails says
why in the status file, in the journal and on the console, and systemd starts the next one: for ever, ever less often.
"""

import fcntl
import json
from collections.abc import Callable
from typing import Any

from .bundle import ensure_bundle
from .given import read_secrets
from .host import NotReadyError, Paths, WaitingError, aws, must, say
from .packages import ensure_packages
from .playbook import run_playbook
from .status import Status, tell_console
from .volume import ensure_volume


def converge(config: dict[str, Any], paths: Paths, status: Status) -> None:
    """Go through every phase."""
    with status.phase("packages"):
        ensure_packages(config["packages"], paths)
    if config["data_volume"]:
        with status.phase("volume"):
            ensure_volume(config["data_volume"], paths)
    with status.phase("bundle"):
        collections = ensure_bundle(config["bundle"], config["region"], paths.bundles)
    with status.phase("secrets"):
        secrets = read_secrets(config["secrets"], config["region"])
    with status.phase("playbook"):
        status.tell()  # On a fresh server the first time that it can, and it may take long
        status.values["changed"] = run_playbook(config, collections, secrets, paths)


def publisher(config: dict[str, Any]) -> Callable[[str], None]:
    """Return what publishes a status; that it cannot is told, and nothing else depends on it."""

    def publish(text: str) -> None:
        if not config["status_url"]:
            return
        try:
            command = aws(
                "s3", "cp", "-", config["status_url"], "--content-type", "application/json", region=config["region"]
            )
            must(command, input=text)
        except NotReadyError as error:
            say(f"the status cannot be published: {error}")

    return publish


def stopped(_signal: int, _frame: object) -> None:
    """Let a run that systemd stops say so."""
    raise WaitingError("the run was stopped before it was through: see what it waited for in the journal")


def main(paths: Paths) -> int:
    """Run once; 0 where the server serves."""
    try:
        config = json.loads(paths.config.read_text())
    except (OSError, ValueError) as error:
        tell_console(paths.console, f"billing-bootstrap: {paths.config} cannot be read ({error}): make the server anew")
        raise
    paths.run.mkdir(parents=True, exist_ok=True)
    with (paths.run / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another run is under way: see journalctl -u billing-bootstrap")
            return 0
        status = Status(paths, config, publisher(config))
        try:
            status.tell()
            converge(config, paths, status)
        except NotReadyError as error:
            status.ends(error.state, str(error))
            return 1
        except Exception as error:  # the status must tell it, whatever it is; the journal has the rest
            status.ends("failed", f"{type(error).__name__}: {error}")
            raise
        status.ends("ready")
        return 0
