# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Prepare a bare Debian machine for the commands of this checkout: packages, tool environments, collection link.

Needs nothing but the Python standard library. Everything it makes lies in this checkout (`.venv`, `.ansible`,
`build/`), except Debian packages, which it installs only where a program is missing and it runs as root.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
UV_VERSION = "0.13.9"
# Newest first. Only what the pinned tool set was run with.
PYTHONS = ("3.13", "3.12", "3.11")
# program -> Debian package
PROGRAMS = {"git": "git", "ssh": "openssh-client", "ssh-keygen": "openssh-client"}
# environment -> (folder, what it is made from: a dependency group of pyproject.toml, or a requirements file)
ENVIRONMENTS: dict[str, tuple[Path, str | Path]] = {
    "tools": (ROOT / ".venv", "tools"),
    "core218": (BUILD / "venv-core218", "core218"),
    "core219": (BUILD / "venv-core219", "core219"),
    "galaxy": (BUILD / "venv-galaxy", "galaxy"),
    "aws": (BUILD / "venv-aws", "aws"),
    "app": (BUILD / "venv-app", ROOT / "examples" / "billing_api" / "requirements-dev.txt"),
}


class SetupError(Exception):
    """Something that the machine lacks, told in one line that says what to do."""


def say(message: str) -> None:
    """Print a line of progress."""
    print(f"setup: {message}", flush=True)


def run(argv: list[str], env: dict[str, str] | None = None) -> None:
    """Run a command to the end; show its output only when it fails."""
    done = subprocess.run(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-30:])
        raise SetupError(f"`{' '.join(argv)}` ended with {done.returncode}:\n{tail}")


def has_venv_module() -> bool:
    """Tell whether this Python can make an environment with pip (Debian splits that off)."""
    return (
        subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode
        == 0
    )


def install_packages(packages: list[str]) -> None:
    """Install Debian packages, as root only."""
    if not packages:
        return
    hint = f"apt-get install --no-install-recommends {' '.join(packages)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SetupError(f"please install what is missing as root: {hint}")
    say(f"installing {' '.join(packages)}")
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    run(["apt-get", "update", "-q"], env)
    run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages], env)


def missing_packages() -> list[str]:
    """List the Debian packages whose program is not there."""
    missing = {package for program, package in PROGRAMS.items() if shutil.which(program) is None}
    if not has_venv_module():
        missing.add("python3-venv")
    return sorted(missing)


def ensure_uv() -> Path:
    """Install uv into an environment of its own and return its path."""
    folder = BUILD / "venv-uv"
    uv, stamp = folder / "bin" / "uv", folder / ".version"
    if uv.exists() and stamp.exists() and stamp.read_text() == UV_VERSION:
        return uv
    say(f"installing uv {UV_VERSION}")
    shutil.rmtree(folder, ignore_errors=True)
    run([sys.executable, "-m", "venv", str(folder)])
    run([str(folder / "bin" / "python"), "-m", "pip", "install", "-q", f"uv=={UV_VERSION}"])
    stamp.write_text(UV_VERSION)
    return uv


def works(python: Path, version: str) -> bool:
    """Tell whether a Python starts and is the wanted version (a pyenv shim may do neither)."""
    probe = [str(python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        done = subprocess.run(probe, capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def find_python(uv: Path) -> tuple[str, Path]:
    """Return version and path of the newest supported Python: uv's finds first, then what pyenv keeps."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in PYTHONS:
        argv = [str(uv), "python", "find", "--system", "--no-python-downloads", version]
        found = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/")
        candidates = [Path(found.stdout.strip())] if found.returncode == 0 else []
        candidates += sorted(pyenv.glob(f"{version}.*/bin/python3"), reverse=True)
        for candidate in candidates:
            if works(candidate, version):
                return version, candidate
    raise SetupError(f"no Python of {', '.join(PYTHONS)} found: apt-get install python3")


def stamp_of(source: str | Path, python: Path) -> str:
    """Digest of what an environment is made from. Requirements files may include others of their folder."""
    if isinstance(source, Path):
        pins = [path.read_text() for path in sorted(source.parent.glob("requirements*"))]
    else:
        pins = sorted(tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"][source])
    return hashlib.sha256(repr((UV_VERSION, str(python), pins)).encode()).hexdigest()


def ensure_environment(uv: Path, python: Path, name: str) -> None:
    """Make an environment, or leave it alone when its pins have not changed."""
    folder, source = ENVIRONMENTS[name]
    stamp, wanted = folder / ".pins", stamp_of(source, python)
    if stamp.exists() and stamp.read_text() == wanted and (folder / "bin" / "python").exists():
        return
    started = time.monotonic()
    env = dict(os.environ, UV_SYSTEM_CERTS="1", UV_HTTP_TIMEOUT="180")
    env.pop("VIRTUAL_ENV", None)
    shutil.rmtree(folder, ignore_errors=True)
    run([str(uv), "venv", "-q", "--no-python-downloads", "--python", str(python), str(folder)], env)
    what = ["-r", str(source)] if isinstance(source, Path) else ["--group", f"{ROOT / 'pyproject.toml'}:{source}"]
    run([str(uv), "pip", "install", "-q", "--python", str(folder / "bin" / "python"), *what], env)
    stamp.write_text(wanted)
    say(f"{folder.relative_to(ROOT)} ready in {time.monotonic() - started:.0f} s")


def ensure_link() -> None:
    """Show this checkout to Ansible as the collection that it is."""
    link = ROOT / ".ansible" / "collections" / "ansible_collections" / "billing" / "infrastructure"
    link.parent.mkdir(parents=True, exist_ok=True)
    target = os.path.relpath(ROOT, link.parent)
    if link.is_symlink() and link.readlink() == Path(target):
        return
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def prepare(environments: Sequence[str], packages: Sequence[str] = ()) -> None:
    """Install what is missing: programs, these Debian packages, uv, these environments, the link."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / ".setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        install_packages(sorted({*missing_packages(), *packages}))
        uv = ensure_uv()
        version, python = find_python(uv)
        say(f"Python {version} at {python}")
        for name in environments:
            ensure_environment(uv, python, name)
        ensure_link()


def main() -> int:
    """Prepare the environments named (default: the one that the tools live in)."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("environments", nargs="*", metavar="ENVIRONMENT", help=", ".join(ENVIRONMENTS))
    try:
        prepare(parser.parse_args().environments or ["tools"])
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
