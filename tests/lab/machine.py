# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What the lab takes over from the machine it runs on: the package mirror and the trusted authorities."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from tests.lab.shell import LabError, run, step

DEFAULT_MIRROR = "http://deb.debian.org/debian"
DEFAULT_SECURITY = "http://security.debian.org/debian-security"
_CA_FOLDER = Path("/usr/local/share/ca-certificates")

# command -> package of Debian and Ubuntu
_TOOLS = {
    "curl": "curl",
    "docker": "docker.io",
    "dockerd": "docker.io",  # some machines have the client alone
    "iptables": "iptables",
    "jq": "jq",
    "mmdebstrap": "mmdebstrap",
    "openssl": "openssl",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}


def find_mirrors(sources: Iterable[str]) -> tuple[str, str]:
    """Return the Debian archive and the security archive that these apt sources name, or Debian's own.

    Both styles of sources count (one line per source, deb822); comments and anything but http(s) do not.
    """
    lines = [line for text in sources for line in text.splitlines() if not line.lstrip().startswith("#")]
    addresses = [address.rstrip("/") for line in lines for address in re.findall(r"https?://[^\s\]]+", line)]

    def first(ending: str, default: str) -> str:
        return next((address for address in addresses if address.endswith(ending)), default)

    return first("/debian", DEFAULT_MIRROR), first("/debian-security", DEFAULT_SECURITY)


def apt_sources() -> list[str]:
    """Read the apt sources of this machine."""
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    return [file.read_text() for file in files if file.is_file() and file.suffix in {".list", ".sources"}]


def extra_authorities() -> list[Path]:
    """Certificates that this machine trusts beyond Debian's own, for example of a proxy that inspects TLS."""
    return sorted(_CA_FOLDER.glob("**/*.crt"))


def missing_packages(commands: Iterable[str]) -> list[str]:
    """Packages to install so that every one of these commands exists."""
    return sorted({_TOOLS[command] for command in commands if shutil.which(command) is None})


def install(packages: list[str]) -> None:
    """Install packages of the distribution; does nothing for an empty list."""
    if not packages:
        return
    if shutil.which("apt-get") is None:
        raise LabError(f"please install {' '.join(packages)}: the lab does it by itself on Debian and Ubuntu only")
    env = {"DEBIAN_FRONTEND": "noninteractive", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    with step(f"install {' '.join(packages)}"):
        run(["apt-get", "update", "-qq"], env=env)
        if "docker.io" in packages and _exists("docker-cli"):  # since Debian 13 the client is a package of its own
            packages = [*packages, "docker-cli"]
        if "mmdebstrap" in packages:  # Ubuntu does not know Debian's signatures by itself
            packages = [*packages, "debian-archive-keyring"]
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], env=env)


def _exists(package: str) -> bool:
    return run(["apt-cache", "show", package], check=False).returncode == 0
