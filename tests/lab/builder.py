# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Build the lab's images, each tagged with the hash of everything that goes into it: same content, no build."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab import machine
from tests.lab.shell import LabError, run, say, step

REPOSITORY = "billing-lab"
_HERE = Path(__file__).parent
_PROJECT = _HERE.parents[1]
_SKIPPED = {"__pycache__", ".git", ".venv", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis"}
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class Recipe:
    """An image: its folder, the image it is made from, and the build argument that names that one."""

    name: str
    folder: Path
    parent: str
    parent_argument: str = "BASE"


def _own(name: str) -> Recipe:
    return Recipe(name, _HERE / "images" / name, "base")


RECIPES = {
    recipe.name: recipe
    for recipe in (
        _own("server"),
        Recipe("cloud", _HERE / "images" / "cloud", "server"),
        _own("registry"),
        _own("nginx"),
        _own("postgres"),
        _own("python"),
        Recipe("api", _PROJECT / "examples" / "billing_api", "python", "PYTHON_IMAGE"),
    )
}


def content_hash(folder: Path, *more: str) -> str:
    """Hash the files of a folder (path, executable bit, content) and further strings into twelve hex digits."""
    digest = hashlib.sha256()
    for text in more:
        digest.update(f"{len(text)}:{text}".encode())
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        relative = file.relative_to(folder)
        if _SKIPPED.isdisjoint(relative.parts) and file.name != "README.md":
            content = file.read_bytes()
            digest.update(f"{relative.as_posix()}:{os.access(file, os.X_OK)}:{len(content)}:".encode())
            digest.update(content)
    return digest.hexdigest()[:12]


def exists(image: str) -> bool:
    """Whether the local engine has this image."""
    return run(["docker", "image", "inspect", image], check=False).returncode == 0


@contextmanager
def _alone() -> Iterator[None]:
    """Keep two labs from building the same image at the same time; the kernel frees the lock when we die."""
    path = Path(tempfile.gettempdir()) / f"billing-lab-images-{os.geteuid()}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("          wait: another lab is building images")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class Builder:
    """Builds images and what they are made from, at most once per process."""

    def __init__(self) -> None:
        self._base: str | None = None
        self._built: dict[str, str] = {}
        self._locks = {name: threading.Lock() for name in RECIPES}

    def build(self, names: list[str]) -> dict[str, str]:
        """Build images side by side where they are missing.

        Returns:
            The reference of each one, ``billing-lab/NAME:HASH``. There is no ``api`` without the sample application.
        """
        names = [name for name in names if name != "api" or self._has_api()]
        with _alone(), ThreadPoolExecutor(max_workers=len(names) or 1) as pool:
            self._base_reference()
            return dict(zip(names, pool.map(self._build, names), strict=True))

    @staticmethod
    def _has_api() -> bool:
        if (RECIPES["api"].folder / "Dockerfile").exists():
            return True
        say("          skip image api: examples/billing_api/Dockerfile does not exist")
        return False

    def _build(self, name: str) -> str:
        with self._locks[name]:  # python is asked for by itself and by api
            if name not in self._built:
                self._built[name] = self._build_once(RECIPES[name])
            return self._built[name]

    def _build_once(self, recipe: Recipe) -> str:
        parent = self._base_reference() if recipe.parent == "base" else self._build(recipe.parent)
        reference = f"{REPOSITORY}/{recipe.name}:{content_hash(recipe.folder, parent)}"
        if not exists(reference):
            with step(f"build image {reference}"):
                arguments = [f"{recipe.parent_argument}={parent}"]
                arguments += [f"{key}={os.environ[key]}" for key in _PROXY_VARIABLES if os.environ.get(key)]
                run(
                    ["docker", "build", "--quiet", "--network", "host", "--tag", reference]
                    + [word for argument in arguments for word in ("--build-arg", argument)]
                    + [str(recipe.folder)],
                    env={**os.environ, "DOCKER_BUILDKIT": "0"},
                    timeout=1200,
                )
        _tag_latest(reference)
        return reference

    def _base_reference(self) -> str:
        if self._base is None:
            self._base = _build_base()
        return self._base


def _build_base() -> str:
    mirror, security = machine.find_mirrors(machine.apt_sources())
    authorities = machine.extra_authorities()
    command = _mmdebstrap(mirror, security, authorities)
    reference = f"{REPOSITORY}/base:" + content_hash(
        _HERE / "images" / "base", *command, *(path.read_text() for path in authorities)
    )
    if not exists(reference):
        with step(f"build image {reference} from {mirror}"):
            _import(command, reference)
    _tag_latest(reference)
    return reference


def _mmdebstrap(mirror: str, security: str, authorities: list[Path]) -> list[str]:
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates"]
    unwanted = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in unwanted]
    command += ["--dpkgopt=path-include=/usr/share/doc/*/copyright", "--dpkgopt=force-unsafe-io"]
    command += ['--aptopt=Acquire::Languages "none"', '--aptopt=APT::Install-Recommends "false"']
    command += [f'--customize-hook=copy-in "{path}" /usr/local/share/ca-certificates' for path in authorities]
    if authorities:
        command.append('--customize-hook=chroot "$1" update-ca-certificates')
    command += ["trixie", "-"]
    command += [f"deb {mirror} trixie main", f"deb {mirror} trixie-updates main"]
    command += [f"deb {security} trixie-security main"]
    return command


def _import(command: list[str], reference: str) -> None:
    """Stream the root file system into the engine, so that it needs no room on disk twice."""
    with (
        tempfile.TemporaryFile(mode="w+") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as bootstrap,
        subprocess.Popen(
            ["docker", "import", "--change", 'CMD ["bash"]', "-", f"{reference}-incomplete"],
            stdin=bootstrap.stdout,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        ) as importer,
    ):
        assert bootstrap.stdout is not None
        bootstrap.stdout.close()
        failed = [bootstrap.wait(), importer.wait()] != [0, 0]
        if failed:
            errors.seek(0)
            raise LabError(f"building {reference} failed:\n{errors.read()[-3000:]}")
    run(["docker", "tag", f"{reference}-incomplete", reference])
    run(["docker", "rmi", f"{reference}-incomplete"])


def _tag_latest(reference: str) -> None:
    run(["docker", "tag", reference, f"{reference.rsplit(':', 1)[0]}:latest"])
