# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""A lab: one network, one registry, any number of hosts, and the files that Terraform and Ansible read."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path

from tests.lab import containers, engine, keys, network
from tests.lab.builder import Builder
from tests.lab.hosts import Host
from tests.lab.registry import HOSTNAME, PORT, USER, Registry
from tests.lab.shell import LabError, run, step

ROOT = Path(__file__).parents[2]
DEFAULT_HOSTS = ("billing-api1",)
# image -> what it is called in the registry
IMAGES = {"nginx": "nginx:1.30", "postgres": "postgres:17", "api": "billing-api:1.0.0"}
_NAME = re.compile(r"[a-z][a-z0-9-]{0,29}")


class Lab:
    """A lab by its name. Nothing happens until a method is called; every method can be called again."""

    def __init__(self, name: str, root: Path = ROOT) -> None:
        _check_name("lab", name)
        self.name = name
        self.labs_dir = root / "build" / "lab"
        self.dir = self.labs_dir / name
        self.ssh_dir = self.dir / "ssh"
        self.network = f"billing-lab-{name}"

    # -- the whole

    def up(self, hosts: Mapping[str, str | None] | None = None) -> None:
        """Have the engine, the images, the network and the registry, and plan hosts for Terraform to add.

        Args:
            hosts: name -> address (or None: the next free one) of the hosts that ``terraform.tfvars.json`` names;
                without any, those of the last time. Hosts that are added by hand are not in it.
        """
        engine.ensure(self.labs_dir)
        with self._alone():
            self._check_files()
            images = Builder().build(["server", "registry", *IMAGES])
            subnet = self._ensure_network()
            keys.ensure_ssh_key(self.ssh_dir / "id_ed25519", f"lab {self.name}")
            registry = Registry(self.name, self.dir, network.address(subnet, network.REGISTRY))
            registry.ensure(images["registry"], self.network)
            with ThreadPoolExecutor(max_workers=2) as pool:
                list(pool.map(lambda name: registry.push(images[name], IMAGES[name]), set(images) & set(IMAGES)))
            planned = hosts or dict.fromkeys(self._planned() or DEFAULT_HOSTS)
            for name, address in planned.items():
                self._plan(name, address)
            self._write_files()
            self._write_terraform_variables(planned)

    def down(self) -> None:
        """Remove every trace of the lab: containers, volumes, network, files. Images stay for the next lab."""
        if engine.answers():
            with step(f"remove lab {self.name}"):
                found = containers.names("container", self.name)
                if found:
                    run(["docker", "rm", "--force", "--volumes", *found])
                for volume in containers.names("volume", self.name):
                    containers.remove_volume(volume)
                for left in containers.names("network", self.name):
                    network.remove(left)
            engine.stop_own(self.labs_dir)
        shutil.rmtree(self.dir, ignore_errors=True)

    def status(self) -> str:
        """A table of what the lab consists of."""
        rows = [("NAME", "ADDRESS", "STATE", "CONTAINER")]
        if self.network in containers.names("network", self.name):
            registry = self.registry
            rows.append(("registry", f"{registry.address}:{PORT}", registry.state, registry.container))
        rows += [(host.name, host.address, host.state, host.container) for host in self.hosts()]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows)
        return "\n".join("  ".join(row).rstrip() for row in padded)

    # -- the parts

    @property
    def subnet(self) -> IPv4Network:
        """The subnet of a lab that is up."""
        return network.existing_subnet(self.network)

    @property
    def registry(self) -> Registry:
        """The registry of a lab that is up."""
        return Registry(self.name, self.dir, network.address(self.subnet, network.REGISTRY))

    def hosts(self) -> list[Host]:
        """Every host that was planned or added, whether it runs or not."""
        return [self._host(name, address) for name, address in sorted(self._addresses().items())]

    def host(self, name: str) -> Host:
        """A host that was planned or added."""
        known = self._addresses()
        if name not in known:
            raise LabError(f"lab {self.name} has no host {name}; it has {', '.join(sorted(known)) or 'none'}")
        return self._host(name, known[name])

    def add_host(self, name: str, address: str | None = None, user_data: bytes = b"") -> Host:
        """Add a host and wait until it answers; one that runs already is left alone.

        With user data nothing is waited for: cloud-init configures a host that nobody can log in to.
        """
        kind = "cloud" if user_data else "server"
        image = Builder().build([kind])[kind]
        with self._alone():
            self._plan(name, address)
            self._write_files()
        host = self.host(name)
        host.add(image, self.network, self.registry.address, user_data)
        return host

    def remove_host(self, name: str, purge: bool = False) -> None:
        """Destroy a host. Its address, host key and data wait for the next host of this name, unless ``purge``."""
        known = self._addresses()
        self._host(name, known.get(name, "")).remove(purge)
        if purge:
            with self._alone():
                known = self._addresses()
                known.pop(name, None)
                for key in self.ssh_dir.glob(f"{name}_ed25519*"):
                    key.unlink()
                self._save_addresses(known)
                self._write_files()

    def push_variant(self, tag: str, environment: Mapping[str, str], source: str = IMAGES["api"]) -> str:
        """Publish the sample API once more as ``billing-api:TAG`` with more environment; return the digest."""
        repository, _colon, source_tag = source.rpartition(":")
        return self.registry.push_variant(f"{repository}:{tag}", environment, source_tag)

    # -- inside

    def _host(self, name: str, address: str) -> Host:
        _check_name("host", name)
        return Host(self.name, name, address, self.ssh_dir)

    def _check_files(self) -> None:
        """Refuse a lab whose keys lie elsewhere: with new ones its hosts could not be reached any more."""
        if containers.names("container", self.name) and not (self.dir / "ca.crt").exists():
            raise LabError(
                f"containers of this lab run, but {self.dir} lacks their keys: they belong to another checkout, or "
                "the folder was deleted. Choose another --name, or run `down` first"
            )

    def _ensure_network(self) -> IPv4Network:
        with step("network") as current:
            subnet, created = network.ensure_network(self.network, self.name)
            current.text = f"network {self.network} {subnet}{'' if created else ': unchanged'}"
        return subnet

    def _plan(self, name: str, address: str | None) -> None:
        """Reserve name, address and host key."""
        known = self._addresses()
        wanted = address or known.get(name) or network.next_host_address(self.subnet, known.values())
        for other, taken in known.items():
            if taken == wanted and other != name:
                raise LabError(
                    f"address {wanted} belongs to host {other}: choose another, or none for the next free one"
                )
        usable = network.host_addresses(self.subnet)
        if wanted not in usable:
            raise LabError(f"address {wanted} is not among those for hosts, {usable[0]} to {usable[-1]}")
        self._host(name, wanted).host_key()
        self._save_addresses({**known, name: wanted})

    def _addresses(self) -> dict[str, str]:
        path = self.dir / "hosts.json"
        addresses: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        return addresses

    def _save_addresses(self, addresses: Mapping[str, str]) -> None:
        keys.write_private(self.dir / "hosts.json", json.dumps(addresses, indent=2, sort_keys=True) + "\n")

    def _write_files(self) -> None:
        """Write what SSH and Ansible read about the lab."""
        known = "".join(f"{host.address},{host.name} {host.host_key()}\n" for host in self.hosts())
        keys.write_private(self.ssh_dir / "known_hosts", known)
        inventory = {"plugin": "billing.infrastructure.terraform_outputs", "state_file": "../terraform.tfstate"}
        keys.write_private(self.dir / "inventory" / "terraform_outputs.yml", json.dumps(inventory, indent=2) + "\n")
        group = {
            "ansible_python_interpreter": "/usr/bin/python3",
            "docker_channel": "distribution",
            "docker_registries": [
                {
                    "registry": f"{HOSTNAME}:{PORT}",
                    "ca_src": str(self.dir / "ca.crt"),
                    "username": USER,
                    "password": self.registry.password,
                }
            ],
            **{f"{image}_image": self.registry.reference(name) for image, name in IMAGES.items()},
        }
        keys.write_private(self.dir / "inventory" / "group_vars" / "billing.yml", json.dumps(group, indent=2) + "\n")

    def _planned(self) -> list[str]:
        """Hosts that Terraform knows about."""
        path = self.dir / "terraform.tfvars.json"
        return list(json.loads(path.read_text())["hosts"]) if path.exists() else []

    def _write_terraform_variables(self, names: Iterable[str]) -> None:
        hosts = [self.host(name) for name in names]
        variables = {
            "lab_name": self.name,
            "hosts": {host.name: {"address": host.address, "host_keys": [host.host_key()]} for host in hosts},
            "ssh_private_key_file": "ssh/id_ed25519",  # from the folder of the state file
            "known_hosts_file": "ssh/known_hosts",
        }
        keys.write_private(self.dir / "terraform.tfvars.json", json.dumps(variables, indent=2) + "\n")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Terraform adds hosts side by side: one at a time writes the files. The kernel frees the lock when we die."""
        self.dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.dir / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _check_name(what: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise LabError(f"{what} name {name!r}: lower-case letters, digits and dashes, a letter first, at most 30")
