# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Packages of the distribution."""

import os

from .host import Paths, WaitingError, run, say

_APT_SECONDS = 1800.0
_OPTIONS = ("-q", "-o", "DPkg::Lock::Timeout=300")


def ensure_packages(names: list[str], paths: Paths) -> None:
    """Install the Debian packages that are missing, and end what an interrupted installation of any has left."""
    journal = paths.dpkg_updates
    if run(["dpkg", "--audit"], 60).stdout.strip() or (journal.is_dir() and any(journal.iterdir())):
        say("an installation of packages was interrupted: ending it")
        _install(["dpkg", "--force-confdef", "--force-confold", "--configure", "-a"])
        _install(["apt-get", *_OPTIONS, "-y", "-f", "install"])
    listed = run(["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package}\n", *names], 60).stdout
    missing = [name for name in names if f"installed {name}" not in listed.splitlines()]
    if not missing:
        return
    say(f"installing {', '.join(missing)}")
    _install(["apt-get", *_OPTIONS, "update"], "; the server needs a Debian mirror")
    _install(["apt-get", *_OPTIONS, "install", "-y", "--no-install-recommends", *missing])


def _install(command: list[str], advice: str = "") -> None:
    done = run(command, _APT_SECONDS, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    if done.returncode != 0:
        raise WaitingError(f"`{' '.join(command)}` ended with {done.returncode}: {done.stderr.strip()[-500:]}{advice}")
