# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The lab's registry: TLS from the lab's authority, basic authentication, reachable as registry.lab:5000."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.lab import containers, keys
from tests.lab.builder import content_hash
from tests.lab.containers import File
from tests.lab.push import Client
from tests.lab.shell import LabError, run, step

HOSTNAME, PORT, USER = "registry.lab", 5000, "lab"
_READY_SECONDS = 30.0


@dataclass(frozen=True)
class Registry:
    """A registry container and how to speak to it."""

    lab: str
    folder: Path
    address: str

    @property
    def container(self) -> str:
        """Name of the container, and of the volume with the images."""
        return f"billing-lab-{self.lab}-registry"

    @property
    def password(self) -> str:
        """The password of the user ``lab``."""
        return keys.ensure_password(self.folder / "registry_password")

    @property
    def client(self) -> Client:
        """Speak to the registry from this machine."""
        return Client(self.address, PORT, self.folder / "ca.crt", USER, self.password)

    @property
    def state(self) -> str:
        """What its container does: running, exited, ... or absent."""
        return containers.state(self.container)

    @staticmethod
    def reference(image: str) -> str:
        """How hosts name an image, ``NAME:TAG`` -> ``registry.lab:5000/NAME:TAG``."""
        return f"{HOSTNAME}:{PORT}/{image}"

    def ensure(self, image: str, network: str) -> None:
        """Have the registry run from this image; it is made anew, its images kept, when something about it changed."""
        with step("registry") as current:
            authority = keys.ensure_authority(self.folder, self.lab)
            certificate, key = keys.ensure_certificate(
                self.folder / "registry",
                authority,
                "registry",
                {HOSTNAME: "DNS", "localhost": "DNS", self.address: "IP", "127.0.0.1": "IP"},
            )
            htpasswd = self.folder / "registry" / "htpasswd"
            if not htpasswd.exists():
                keys.write_private(htpasswd, f"{USER}:{keys.bcrypt(self.password)}\n")
            wanted = content_hash(self.folder / "registry", image, self.address)
            containers.remove_unfinished(self.container)
            found = containers.inspect(self.container)
            if found and found["Config"]["Labels"].get("billing.lab.content") == wanted:
                if not found["State"]["Running"]:
                    run(["docker", "start", self.container])
                    current.text = "registry: started"
                else:
                    current.text = "registry: unchanged"
            else:
                if found:
                    run(["docker", "rm", "--force", self.container])
                files = {
                    "/etc/registry/tls.crt": File(certificate.read_text()),
                    "/etc/registry/tls.key": File(key.read_text()),
                    "/etc/registry/htpasswd": File(htpasswd.read_text()),
                }
                self._create(image, network, files, wanted)
                current.text = f"registry: {self.address}:{PORT}, on the hosts {HOSTNAME}:{PORT}"
            self._wait()

    def _create(self, image: str, network: str, files: Mapping[str, File], content: str) -> None:
        containers.ensure_volume(self.container, self.lab)
        environment = {
            "REGISTRY_HTTP_TLS_CERTIFICATE": "/etc/registry/tls.crt",
            "REGISTRY_HTTP_TLS_KEY": "/etc/registry/tls.key",
            "REGISTRY_AUTH": "htpasswd",
            "REGISTRY_AUTH_HTPASSWD_REALM": "lab",
            "REGISTRY_AUTH_HTPASSWD_PATH": "/etc/registry/htpasswd",
        }
        options = ["--network", network, "--ip", self.address, "--network-alias", HOSTNAME]
        options += ["--restart", "unless-stopped", "--volume", f"{self.container}:/var/lib/registry"]
        for name, value in environment.items():
            options += ["--env", f"{name}={value}"]
        containers.start_new(self.container, self.lab, image, options, {"billing.lab.content": content}, files)

    def start(self) -> None:
        """Start a stopped registry and wait until it answers."""
        with step("registry: start"):
            run(["docker", "start", self.container])
            self._wait()

    def stop(self) -> None:
        """Stop the registry: connections to it are refused, its images are kept."""
        with step("registry: stop"):
            run(["docker", "stop", "--time", "1", self.container])

    def push(self, image: str, name: str) -> str:
        """Push a local image as ``NAME:TAG`` unless it is there; return its digest."""
        repository, tag = _split(name)
        with step(f"push {name}") as current:
            digest, sent = self.client.push(image, repository, tag)
            if not sent:
                current.text = f"push {name}: unchanged"
        return digest

    def push_variant(self, name: str, environment: Mapping[str, str], source: str) -> str:
        """Publish the image ``source`` once more as ``name`` with other environment variables; return the digest.

        Args:
            name: ``NAME:TAG`` of the variant.
            environment: variables that the variant has in addition.
            source: tag in the same repository that it is made from.
        """
        repository, tag = _split(name)
        with step(f"push {name} from {source} with {', '.join(sorted(environment)) or 'nothing more'}"):
            return self.client.push_variant(repository, source, tag, environment)

    def digest(self, name: str) -> str:
        """The digest behind ``NAME:TAG``."""
        repository, tag = _split(name)
        found = self.client.digest(repository, tag)
        if found is None:
            raise LabError(f"{name} is not in the registry")
        return found

    def _wait(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not self.client.ready():
            if time.monotonic() > deadline:
                logs = run(["docker", "logs", "--tail", "10", self.container], check=False)
                said = logs.stderr + logs.stdout
                raise LabError(f"the registry does not answer after {_READY_SECONDS:.0f} s:\n{said}")
            time.sleep(0.1)


def _split(name: str) -> tuple[str, str]:
    repository, colon, tag = name.rpartition(":")
    if not colon or not repository or "/" in tag:
        raise LabError(f"{name!r} is not NAME:TAG")
    return repository, tag
