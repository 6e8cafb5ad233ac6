# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The network of a lab: a /24 of its own, chosen from the lab's name and kept clear of what is there already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from tests.lab.shell import LabError, run

# Away from Docker's own pools and from the networks inside the hosts (10.201.0.0/16, 10.202.0.0/16)
POOL = IPv4Network("10.77.0.0/16")
GATEWAY, REGISTRY, FIRST_HOST = 1, 2, 11


def candidates(name: str) -> Iterator[IPv4Network]:
    """Every /24 of the pool once, starting at the one that belongs to this name."""
    subnets = list(POOL.subnets(new_prefix=24))
    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % len(subnets)
    yield from subnets[start:] + subnets[:start]


def choose_subnet(name: str, taken: Iterable[IPv4Network]) -> IPv4Network:
    """The first candidate that overlaps nothing taken."""
    occupied = list(taken)
    for subnet in candidates(name):
        if not any(subnet.overlaps(other) for other in occupied):
            return subnet
    raise LabError(f"no free /24 is left in {POOL}: remove labs that are not needed (`down`)")


def address(subnet: IPv4Network, number: int) -> str:
    """The address with this number in the subnet."""
    return str(subnet[number])


def dynamic_range(subnet: IPv4Network) -> IPv4Network:
    """Where Docker may take addresses for containers that ask for none: the upper half, ours are in the lower."""
    return list(subnet.subnets(prefixlen_diff=1))[1]


def host_addresses(subnet: IPv4Network) -> list[str]:
    """Every address that a host may have, the lowest first."""
    return [address(subnet, number) for number in range(FIRST_HOST, 128)]


def next_host_address(subnet: IPv4Network, used: Iterable[str]) -> str:
    """The lowest host address that is not used yet."""
    occupied = set(used)
    for candidate in host_addresses(subnet):
        if candidate not in occupied:
            return candidate
    raise LabError(f"no address is left in {subnet}")


def ensure_network(network: str, name: str) -> tuple[IPv4Network, bool]:
    """Create the network of a lab unless it exists; return its subnet and whether it is new."""
    existing = _subnet_of(network)
    if existing is not None:
        return existing, False
    refused: list[IPv4Network] = []
    while True:
        subnet = choose_subnet(name, [*_taken(), *refused])
        command = ["docker", "network", "create", "--driver", "bridge", "--label", f"billing.lab={name}"]
        command += ["--subnet", str(subnet), "--gateway", address(subnet, GATEWAY)]
        created = run([*command, "--ip-range", str(dynamic_range(subnet)), network], check=False)
        if created.returncode == 0:
            return subnet, True
        if "overlap" not in created.stderr:
            raise LabError(f"cannot create the network {network}: {created.stderr.strip()}")
        refused.append(subnet)  # another lab was quicker


def existing_subnet(network: str) -> IPv4Network:
    """The subnet of a lab that is up."""
    subnet = _subnet_of(network)
    if subnet is None:
        raise LabError(f"the network {network} does not exist: run `up` first")
    return subnet


def _subnet_of(network: str) -> IPv4Network | None:
    found = run(["docker", "network", "inspect", network], check=False)
    if found.returncode != 0:
        return None
    return IPv4Network(json.loads(found.stdout)[0]["IPAM"]["Config"][0]["Subnet"])


def remove(network: str) -> None:
    """Remove a network that nothing uses any more."""
    done = run(["docker", "network", "rm", network], check=False)
    if done.returncode != 0:
        found = json.loads(run(["docker", "network", "inspect", network]).stdout)[0]
        users = ", ".join(sorted(user["Name"] for user in found["Containers"].values())) or done.stderr.strip()
        raise LabError(f"the network {network} is still used by {users}: remove that first")


def parse_routes(table: str) -> list[IPv4Network]:
    """Networks that this machine has a route to, from the text of /proc/net/route; the default route left out."""
    found = []
    for line in table.splitlines()[1:]:
        columns = line.split()
        destination, mask = (IPv4Address(int(columns[index], 16).to_bytes(4, "little")) for index in (1, 7))
        if int(mask):
            found.append(IPv4Network(f"{destination}/{mask}"))
    return found


def _taken() -> list[IPv4Network]:
    """Subnets of every Docker network and every route of this machine of this machine."""
    words: list[str] = []
    identifiers = run(["docker", "network", "ls", "--quiet"]).stdout.split()
    if identifiers:
        for entry in json.loads(run(["docker", "network", "inspect", *identifiers], check=False).stdout or "[]"):
            words += [part.get("Subnet", "") for part in entry["IPAM"]["Config"] or []]
    networks = [IPv4Network(word) for word in words if "." in word]
    return networks + parse_routes(Path("/proc/net/route").read_text())
