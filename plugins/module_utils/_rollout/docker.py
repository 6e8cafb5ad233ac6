# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only file that runs `docker` and `docker compose`: argument lists, timeouts, JSON in, typed results out."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .release import Container, RolloutError

# What docker says, and the code under which a person finds it. The first match counts.
_CAUSES = (
    ("no space left on device", "disk_full", "free space on this host (docker system df shows what Docker uses)"),
    (
        "address already in use",
        "port_taken",
        "another process listens on that port; find it with 'ss -ltnp' and stop it",
    ),
    ("port is already allocated", "port_taken", "another container publishes that port; stop it"),
    ("manifest unknown", "image_unknown", "check name and tag, or push the image"),
    ("unauthorized", "registry_unauthorized", "check the user name and password for it in docker_registries"),
    ("toomanyrequests", "registry_throttled", "wait, or log in: the registry limits how much is pulled"),
    ("manifest verification failed", "digest_mismatch", "the registry sent something else than it had named"),
    ("no matching manifest", "platform_missing", "build and push the image for this host's architecture"),
    *(
        (words, "docker_down", "see 'systemctl status docker' and 'journalctl -u docker'")
        for words in ("cannot connect to the docker daemon", "error during connect", "is the docker daemon running")
    ),
    *(
        (words, "registry_unreachable", "check that the registry is up and that this host can reach it")
        for words in ("client.timeout exceeded", "context deadline exceeded", "unexpected http status: 5")
    ),
    ("download failed after attempts", "registry_unreachable", "the registry broke off; check it and try again"),
)
_DAEMON_PID = Path("/run/docker.pid")


def cause(text: str) -> tuple[str, str] | None:
    """Return code and advice for a known cause in an output or a log, None for an unknown one."""
    lowered = text.lower()
    for words, code, advice in _CAUSES:
        if words in lowered:
            return code, advice
    return None


_RECENT = 2.0  # Seconds.


@dataclass(frozen=True)
class Result:
    """One finished command."""

    command: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


class Docker:
    """The Docker engine of this host, as far as one Compose project needs it."""

    def __init__(self, root: Path, project: str) -> None:
        self.root = root
        self.project = project
        # Descriptors that every command inherits: the lock, so that a command whose rollout was killed keeps it.
        self.inherited: tuple[int, ...] = ()
        self._seen: tuple[float, list[Container]] | None = None

    @staticmethod
    def installed() -> bool:
        """Whether there is a docker command at all."""
        return shutil.which("docker") is not None

    def run(self, *arguments: str, timeout: float = 60.0, check: bool = True) -> Result:
        """Run `docker ...`; raise RolloutError on a non-zero return code unless `check` is false."""
        command = ("docker", *arguments)
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": pwd.getpwuid(os.getuid()).pw_dir,
            "LANG": "C.UTF-8",
        }
        try:
            done = subprocess.run(  # pylint: disable=ansible-bad-function
                command,
                cwd=self.root if self.root.is_dir() else "/",
                pass_fds=self.inherited,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as error:
            raise RolloutError(
                "timeout",
                f"'{' '.join(command[:4])} ...' did not finish in {timeout:.0f} s; see 'journalctl -u docker'",
                {"command": list(command)},
            ) from error
        result = Result(
            command, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )
        if check and result.returncode != 0:
            raise _failure(result)
        return result

    def compose(self, files: Sequence[str], *arguments: str, timeout: float = 60.0, check: bool = True) -> Result:
        """Run `docker compose` on the project's own files."""
        named = [word for file in files for word in ("-f", file)]
        head = ("compose", "--project-name", self.project, "--project-directory", ".", "--env-file", "release.env")
        return self.run(*head, *named, "--progress", "quiet", *arguments, timeout=timeout, check=check)

    def daemon(self) -> str:
        """Return what tells one life of the daemon from the next, '' while there is none."""
        try:
            pid = _DAEMON_PID.read_text().strip()
            # The file outlives a daemon that was killed.
            return f"{pid} {_DAEMON_PID.stat().st_mtime_ns}" if Path(f"/proc/{pid}").exists() else ""
        except FileNotFoundError:
            return ""

    def pull(self, image: str, timeout: float) -> None:
        """Pull a pinned reference and prove that the local image carries its digest.

        The daemon reports some errors inside a stream that ends with success, so the result is checked.
        """
        self.run("pull", "--quiet", image, timeout=timeout)
        if not self.has(image):
            raise RolloutError(
                "digest_mismatch",
                f"after a pull, no local image carries {image}; remove the image by hand and try again",
                {"image": image},
            )

    def has(self, image: str) -> bool:
        """Whether a local image carries the digest of a pinned reference."""
        result = self.run("image", "inspect", "--format", "{{json .RepoDigests}}", image, check=False)
        digests = json.loads(result.stdout) if result.returncode == 0 and result.stdout.strip() else []
        wanted = image.rpartition("@")[2]
        return any(str(entry).endswith(f"@{wanted}") for entry in digests or [])

    def created(self, image: str) -> str:
        """Return when a local image was built (RFC 3339), '' where it is not here."""
        return self.run("image", "inspect", "--format", "{{.Created}}", image, check=False).stdout.strip()

    def remove_image(self, image: str) -> None:
        """Remove an image, unless a container uses it or it is gone already."""
        self.run("image", "rm", image, check=False)

    def containers(self, timeout: float = 30.0) -> list[Container]:
        """Return every service container of the project, running or not; one-off containers are left out."""
        label = f"label=com.docker.compose.project={self.project}"
        listed = self.run(
            "ps", "-aq", "--filter", label, "--filter", "label=com.docker.compose.oneoff=False", timeout=timeout
        )
        ids = listed.stdout.split()
        if not ids:
            return []
        inspected = self.run("inspect", "--type", "container", *ids, timeout=timeout, check=False)
        if inspected.returncode != 0 and "no such container" not in inspected.stderr.lower():
            raise _failure(inspected)  # Not one that vanished in between: what is not known is not absent.
        found = [_container(item) for item in json.loads(inspected.stdout or "[]")]
        self._seen = (time.monotonic(), found)
        return found

    def recent(self) -> list[Container]:
        """Return what `containers` found in the last two seconds, or look."""
        if self._seen is not None and time.monotonic() - self._seen[0] < _RECENT:
            return self._seen[1]
        return self.containers()

    def logs(self, container: Container, lines: int = 30) -> list[str]:
        """Return the last lines a container wrote, oldest first."""
        result = self.run("logs", "--tail", str(lines), container.id, check=False)
        return (result.stdout + result.stderr).splitlines()[-lines:]

    def output(self, container: Container, since: float, until: float, most: int = 20000) -> list[str]:
        """Return the lines on standard output of a stretch of time (Unix seconds), `most` of them at the most."""
        span = ("--since", f"{since:.6f}", "--until", f"{until:.6f}", "--tail", str(most))
        return self.run("logs", *span, container.id, check=False).stdout.splitlines()


def _container(item: dict[str, Any]) -> Container:
    labels = item["Config"].get("Labels") or {}
    state = item["State"]
    return Container(
        id=item["Id"],
        service=labels.get("com.docker.compose.service", ""),
        image=item["Config"]["Image"],
        config_hash=labels.get("billing.config-hash", ""),
        state=state["Status"],
        health=(state.get("Health") or {}).get("Status", ""),
        restarts=int(item.get("RestartCount", 0)),
        pid=int(state.get("Pid", 0)),
        started_at=state.get("StartedAt", ""),
    )


def _failure(result: Result) -> RolloutError:
    output = result.stderr.strip() or result.stdout.strip()
    code, advice = cause(output) or ("docker_failed", "see the output below and 'journalctl -u docker'")
    last = output.splitlines()[-1] if output else f"return code {result.returncode}"
    return RolloutError(
        code,
        f"'{' '.join(result.command[:2])}' failed: {last}; {advice}",
        {"command": list(result.command), "rc": result.returncode, "stderr": output[-2000:]},
    )
