# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""Which attributes of well-known servers are what the contract calls an address, a zone and so on.

Private to the collection. From the argument and attribute references of the providers on registry.terraform.io.
"""

from __future__ import annotations

from collections.abc import Mapping

# In the order in which a host is connected to.
ADDRESSES = ("public_ipv4", "fqdn", "private_ipv4", "public_ipv6")
PLACEMENT = ("region", "zone", "type", "arch", "image")

_AZURE_VM = {
    "public_ipv4": "public_ip_address",
    "private_ipv4": "private_ip_address",
    "region": "location",
    "zone": "zone",
    "type": "size",
    "image": "source_image_id",
    "tags": "tags",
}

KNOWN: Mapping[str, Mapping[str, str]] = {
    "aws_instance": {
        "public_ipv4": "public_ip",
        "fqdn": "public_dns",
        "private_ipv4": "private_ip",
        "public_ipv6": "ipv6_addresses.0",
        "zone": "availability_zone",
        "type": "instance_type",
        "image": "ami",
        "tags": "tags",
    },
    "azurerm_linux_virtual_machine": _AZURE_VM,
    "azurerm_windows_virtual_machine": _AZURE_VM,
    "digitalocean_droplet": {
        "public_ipv4": "ipv4_address",
        "private_ipv4": "ipv4_address_private",
        "public_ipv6": "ipv6_address",
        "region": "region",
        "type": "size",
        "image": "image",
        "tags": "tags",
    },
    "google_compute_instance": {
        "public_ipv4": "network_interface.0.access_config.0.nat_ip",
        "private_ipv4": "network_interface.0.network_ip",
        "zone": "zone",
        "type": "machine_type",
        "image": "boot_disk.0.initialize_params.0.image",
        "tags": "labels",
    },
    "hcloud_server": {
        "public_ipv4": "ipv4_address",
        "public_ipv6": "ipv6_address",
        "region": "location",
        "zone": "datacenter",
        "type": "server_type",
        "image": "image",
        "tags": "labels",
    },
    "openstack_compute_instance_v2": {
        "public_ipv4": "access_ip_v4",
        "public_ipv6": "access_ip_v6",
        "region": "region",
        "zone": "availability_zone",
        "type": "flavor_name",
        "image": "image_name",
        "tags": "metadata",
    },
}
