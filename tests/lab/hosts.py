# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Hosts: fresh Debian servers with systemd, reached over SSH with a key and a host key that the lab made beforehand."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.lab import containers, keys
from tests.lab.containers import File
from tests.lab.shell import LabError, run, step

_BOOT_SECONDS = 60.0
_NOCLOUD = "/var/lib/cloud/seed/nocloud"
# Where the data volume lies on a host that makes a disk of it (images/cloud)
_DISK = "/var/lib/lab-disk"
# On a host with user data: what build/lab/LAB/secrets/HOST.json holds
SECRETS = "/etc/lab-secrets.json"
# What systemd, nftables and a Docker engine inside need beyond Docker's own default. Not --privileged and not ALL: some
# engines may not grant CAP_SYS_RESOURCE and refuse both; nor should a host set the clock or load modules.
_CAPABILITIES = (
    "AUDIT_READ",
    "DAC_READ_SEARCH",
    "IPC_LOCK",
    "MAC_ADMIN",
    "NET_ADMIN",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_PTRACE",
)


@dataclass(frozen=True)
class Host:
    """One host of a lab, whether it runs or not."""

    lab: str
    name: str
    address: str
    ssh_dir: Path

    @property
    def container(self) -> str:
        """Name of its container, and the beginning of its volumes' names."""
        return f"billing-lab-{self.lab}-{self.name}"

    @property
    def volumes(self) -> dict[str, str]:
        """Its volumes, path on the host -> volume. The data volume outlives the host."""
        return {"/var/lib/docker": f"{self.container}-docker", "/srv/billing": f"{self.container}-data"}

    @property
    def state(self) -> str:
        """What its container does: running, exited, ... or absent."""
        return containers.state(self.container)

    def host_key(self) -> str:
        """Its public host key, made on first use: known before the host exists."""
        return keys.ensure_ssh_key(self.ssh_dir / f"{self.name}_ed25519", self.name)

    def add(self, image: str, network: str, registry_address: str, user_data: bytes = b"") -> None:
        """Create and start the host unless it runs, and wait until it answers on SSH.

        With user data, cloud-init configures it: nobody can log in, and nothing is waited for, as with a cloud.
        """
        with step(f"host {self.name} ({self.address})") as current:
            containers.remove_unfinished(self.container)
            found = containers.inspect(self.container)
            if found is None:
                self._create(image, network, registry_address, user_data)
            elif self.address not in _addresses(found):
                raise LabError(f"host {self.name} exists with another address: run `host remove {self.name}` first")
            elif not found["State"]["Running"]:
                run(["docker", "start", self.container])
            elif user_data or self.answers():
                current.text = f"host {self.name} ({self.address}): unchanged"
                return
            if not user_data:
                self.wait()

    def _create(self, image: str, network: str, registry_address: str, user_data: bytes) -> None:
        options = ["--hostname", self.name, "--network", network, "--ip", self.address]
        options += ["--add-host", f"registry.lab:{registry_address}", "--restart", "unless-stopped"]
        options += ["--cgroupns", "private"]
        for capability in _CAPABILITIES:
            options += ["--cap-add", capability]
        for setting in ("seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined"):
            options += ["--security-opt", setting]
        options += ["--device-cgroup-rule", "a *:* rwm"]
        for mount in ("/run:exec", "/run/lock", "/tmp:exec"):
            options += ["--tmpfs", mount]
        for path, volume in self.volumes.items():
            containers.ensure_volume(volume, self.lab)
            place = _DISK if user_data and path == "/srv/billing" else path
            options += ["--volume", f"{volume}:{place}"]
        files = self._seed(user_data) if user_data else self._login()
        containers.start_new(self.container, self.lab, image, options, {"billing.lab.host": self.name}, files)

    def _login(self) -> dict[str, File]:
        """Return the files that let the lab log in."""
        public = self.host_key()
        private = (self.ssh_dir / f"{self.name}_ed25519").read_text()
        client = keys.ensure_ssh_key(self.ssh_dir / "id_ed25519", f"lab {self.lab}")
        return {
            "/etc/ssh/ssh_host_ed25519_key": File(private),
            "/etc/ssh/ssh_host_ed25519_key.pub": File(f"{public} {self.name}\n", 0o644),
            "/root/.ssh/authorized_keys": File(f"{client} lab\n"),
        }

    def _seed(self, user_data: bytes) -> dict[str, File]:
        """Return the files that cloud-init starts from, and the secrets that a cloud of this lab hands over."""
        instance = f"{self.name}-{hashlib.sha256(user_data).hexdigest()[:12]}"
        metadata = json.dumps({"instance-id": instance, "local-hostname": self.name})
        files = {f"{_NOCLOUD}/user-data": File(user_data), f"{_NOCLOUD}/meta-data": File(metadata)}
        secrets = self.ssh_dir.parent / "secrets" / f"{self.name}.json"
        return {**files, SECRETS: File(secrets.read_text())} if secrets.exists() else files

    def remove(self, purge: bool = False) -> None:
        """Destroy the host. Its data volume is kept for the next host of this name, unless ``purge``."""
        with step(f"host {self.name}: remove{' with its data' if purge else ''}"):
            if containers.inspect(self.container):
                run(["docker", "rm", "--force", self.container])
            for path, volume in self.volumes.items():
                if purge or path != "/srv/billing":
                    containers.remove_volume(volume)

    def reboot(self) -> None:
        """Shut down in order, start again, wait for SSH."""
        with step(f"host {self.name}: reboot"):
            run(["docker", "restart", "--time", "90", self.container])
            self.wait()

    def kill(self) -> None:
        """Pull the plug: every process dies at once, nothing is written back in order."""
        with step(f"host {self.name}: kill"):
            run(["docker", "kill", self.container])

    def start(self) -> None:
        """Switch a host on again that was killed, and wait for SSH."""
        with step(f"host {self.name}: start"):
            run(["docker", "start", self.container])
            self.wait()

    def inventory_variables(self) -> dict[str, str]:
        """What a plain Ansible inventory says of it."""
        return {
            "ansible_host": self.address,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.ssh_dir / "id_ed25519"),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={self.ssh_dir / 'known_hosts'}",
        }

    def ssh_command(self) -> list[str]:
        """The command that logs in as root; append what to run."""
        options = {
            "IdentityFile": str(self.ssh_dir / "id_ed25519"),
            "UserKnownHostsFile": str(self.ssh_dir / "known_hosts"),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "ConnectTimeout": "10",
            "LogLevel": "ERROR",
        }
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        return ["ssh", "-F", "/dev/null", *words, f"root@{self.address}"]

    def ssh(
        self, command: str, *, check: bool = True, input_text: str | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command on the host as root.

        Raises:
            LabError: the command failed while ``check`` is set, or took longer than ``timeout`` seconds.
        """
        return run([*self.ssh_command(), command], check=check, input_text=input_text, timeout=timeout)

    def answers(self) -> bool:
        """Whether a login works right now."""
        return run([*self.ssh_command(), "true"], check=False, timeout=30).returncode == 0

    def wait(self) -> None:
        """Wait until a login works."""
        deadline = time.monotonic() + _BOOT_SECONDS
        while not (self._port_open() and self.answers()):
            if time.monotonic() > deadline:
                said = run([*self.ssh_command(), "true"], check=False).stderr.strip()
                raise LabError(
                    f"host {self.name} does not answer on SSH after {_BOOT_SECONDS:.0f} s ({self.state}): {said}\n"
                    f"see `docker logs {self.container}`"
                )
            time.sleep(0.1)

    def _port_open(self) -> bool:
        try:
            with socket.create_connection((self.address, 22), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False


def _addresses(found: dict[str, object]) -> list[str]:
    settings = found["NetworkSettings"]
    assert isinstance(settings, dict)
    configured = [network["IPAMConfig"] or {} for network in settings["Networks"].values()]
    return [str(entry.get("IPv4Address")) for entry in configured]
