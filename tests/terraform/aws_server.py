# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""AWS in one process: moto's server, with what it lacks for terraform/aws. Runs in an environment of its own.

python tests/terraform/aws_server.py FOLDER: listens on a free port of this machine, and writes it to FOLDER/port.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

DEBIAN = "136693071363"
IMAGES = {
    "ami-0000000000000000a": ("debian-13-amd64-20260101-0001", "x86_64", DEBIAN, "2026-01-01T00:00:00.000Z"),
    "ami-0000000000000000b": ("debian-13-arm64-20260101-0001", "arm64", DEBIAN, "2026-01-01T00:00:00.000Z"),
    # Somebody else's of the same name, and newer
    "ami-0000000000000000c": ("debian-13-amd64-20260601-0001", "x86_64", "999999999999", "2026-06-01T00:00:00.000Z"),
}


def image(identifier: str) -> dict[str, Any]:
    """Return an image as moto reads it."""
    name, architecture, owner, created = IMAGES[identifier]
    return {
        "ami_id": identifier,
        "name": name,
        "architecture": architecture,
        "owner_id": owner,
        "creation_date": created,
        "description": name,
        "image_location": f"{owner}/{name}",
        "public": True,
        "root_device_name": "/dev/xvda",
        "root_device_type": "ebs",
        "virtualization_type": "hvm",
        "hypervisor": "xen",
    }


def repair() -> None:
    """Put right what moto 5.2 answers otherwise than AWS, where terraform/aws depends on it."""
    from moto.ec2.models.subnets import Subnet
    from moto.ec2.responses.instances import InstanceResponse
    from moto.iam.access_control import PermissionResult
    from moto.s3.models import FakeBucket

    def associations(subnet: Subnet) -> list[dict[str, Any]]:
        """The state of an IPv6 block is a text below `state`, not an object in it."""
        return [
            {
                "ipv6CidrBlock": association["ipv6CidrBlock"],
                "associationId": association["associationId"],
                "ipv6CidrBlockState": {"state": association["ipv6CidrBlockState"]["State"]},
            }
            for association in subnet.ipv6_cidr_block_associations.values()
            if association["ipv6CidrBlockState"]["State"] == "associated"
        ]

    run_instances = InstanceResponse.run_instances

    def run_with_addresses(response: InstanceResponse) -> Any:
        """An instance gets the IPv6 addresses that it asks for."""
        answer = run_instances(response)
        wanted = [address["Ipv6Address"] for address in response._get_param("Ipv6Addresses", [])]
        for instance in answer.result.instances:
            instance.nics[0].ipv6_addresses = list(wanted)
        return answer

    def undecided(_bucket: FakeBucket, _action: str, _resource: str) -> PermissionResult:
        """A bucket policy that refuses plain HTTP refuses nothing here: moto does not look at its condition."""
        return PermissionResult.NEUTRAL

    FakeBucket.get_permission = undecided
    Subnet.ipv6_cidr_block_association_set = property(associations)
    InstanceResponse.run_instances = run_with_addresses


def main() -> None:
    """Serve until killed."""
    folder = Path(sys.argv[1])
    images = folder / "amis.json"
    images.write_text(json.dumps([image(identifier) for identifier in IMAGES]), encoding="utf-8")
    os.environ["MOTO_AMIS_PATH"] = str(images)
    from moto.server import ThreadedMotoServer

    repair()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _host, port = server.get_host_and_port()
    (folder / "port.new").write_text(str(port), encoding="utf-8")
    (folder / "port.new").rename(folder / "port")
    threading.Event().wait()


if __name__ == "__main__":
    main()
