# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

# One network with IPv4 and IPv6, and one public subnet for each zone that a node is in. A zone keeps its numbers.

locals {
  zones = ["a", "b", "c", "d", "e", "f"]

  # Made from the name, so that the next server of this name has it again. Below 256 are addresses that AWS keeps.
  ipv6_addresses = { for name, node in var.nodes : name =>
    cidrhost(aws_subnet.public[node.zone].ipv6_cidr_block, 256 + parseint(substr(sha256(name), 0, 8), 16))
  }
}

resource "aws_vpc" "this" {
  # checkov:skip=CKV2_AWS_11: flow logs cost by the gigabyte and nobody here reads them; add aws_flow_log where somebody does
  cidr_block                       = var.network_cidr
  assign_generated_ipv6_cidr_block = true
  enable_dns_support               = true
  enable_dns_hostnames             = true

  tags = { Name = local.prefix }
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id

  tags = { Name = local.prefix }
}

resource "aws_subnet" "public" {
  for_each = toset([for node in values(var.nodes) : node.zone])

  vpc_id            = aws_vpc.this.id
  availability_zone = "${var.region}${each.key}"
  cidr_block        = cidrsubnet(var.network_cidr, 4, index(local.zones, each.key))
  ipv6_cidr_block   = cidrsubnet(aws_vpc.this.ipv6_cidr_block, 8, index(local.zones, each.key))

  tags = { Name = "${local.prefix}-${each.key}" }
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id

  tags = { Name = local.prefix }
}

resource "aws_route" "ipv4" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route" "ipv6" {
  route_table_id              = aws_route_table.public.id
  destination_ipv6_cidr_block = "::/0"
  gateway_id                  = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "public" {
  for_each = aws_subnet.public

  route_table_id = aws_route_table.public.id
  subnet_id      = each.value.id
}

# The address that clients know. It stays when the server is replaced or switched off.
resource "aws_eip" "node" {
  for_each = var.nodes

  domain = "vpc"

  tags = { Name = "${local.prefix}-${each.key}" }

  depends_on = [aws_internet_gateway.this]
}

resource "aws_eip_association" "node" {
  for_each = aws_instance.node

  allocation_id = aws_eip.node[each.key].id
  instance_id   = each.value.id
}
