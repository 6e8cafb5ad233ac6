# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Find Terraform or OpenTofu; where neither is, install Terraform from its vendor's package repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

VENDOR = "https://apt.releases.hashicorp.com"
KEY = Path("/usr/share/keyrings/hashicorp-archive-keyring.asc")
SOURCE = Path("/etc/apt/sources.list.d/hashicorp.sources")
ADVICE = "install Terraform >= 1.6 (https://developer.hashicorp.com/terraform/install) or OpenTofu on PATH, then again"


class TerraformMissingError(Exception):
    """Neither program is there, nor can it be installed. The message says in one line what to do."""


def codename() -> str:
    """Return the release name of this distribution, for the vendor's repository."""
    lines = Path("/etc/os-release").read_text().splitlines()
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    return fields.get("VERSION_CODENAME", "bookworm").strip('"')


def install() -> None:
    """Add the vendor's repository and install the package; leave no trace of it on failure."""
    try:
        with urllib.request.urlopen(f"{VENDOR}/gpg", timeout=15) as answer:  # noqa: S310 (a constant)
            KEY.write_bytes(answer.read())
        SOURCE.write_text(
            f"Types: deb\nURIs: {VENDOR}\nSuites: {codename()}\nComponents: main\nSigned-By: {KEY}\n", encoding="utf-8"
        )
        env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        for command in (["update"], ["install", "-y", "--no-install-recommends", "terraform"]):
            subprocess.run(
                ["apt-get", "-q", *command], env=env, capture_output=True, text=True, check=True, timeout=600
            )
    except (OSError, subprocess.SubprocessError) as error:
        SOURCE.unlink(missing_ok=True)
        KEY.unlink(missing_ok=True)
        raise TerraformMissingError(f"Terraform is missing and {VENDOR} did not give it ({error}): {ADVICE}") from error


def find_terraform(say: Callable[[str], None]) -> Path:
    """Return the path of terraform or tofu from PATH; as root, install the former where both are missing."""
    for name in ("terraform", "tofu"):
        if found := shutil.which(name):
            return Path(found)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise TerraformMissingError(f"Terraform is missing: {ADVICE}")
    say(f"installing Terraform from {VENDOR}")
    install()
    found = shutil.which("terraform")
    if found is None:
        raise TerraformMissingError(f"Terraform was installed but is not on PATH: {ADVICE}")
    return Path(found)


def main() -> int:
    """Say which program it is, or in one line what to do."""
    try:
        path = find_terraform(print)
    except TerraformMissingError as error:
        print(f"ERROR: {error}")
        return 1
    version = subprocess.run([str(path), "version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    print(f"{path}: {version.splitlines()[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
