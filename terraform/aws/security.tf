# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

# What may reach the servers: HTTP and HTTPS. People come through Session Manager, which needs no open port; SSH is closed
# unless var.ssh names networks, and never open to the world.

locals {
  world = { ipv4 = "0.0.0.0/0", ipv6 = "::/0" }

  # {"80-ipv4" = {port, cidr_ipv4, cidr_ipv6}, ...}
  web = merge([for port in [80, 443] : { for family, cidr in local.world : "${port}-${family}" => { port = port, family = family, cidr = cidr } }]...)
  out = merge([for port in var.egress_ports : { for family, cidr in local.world : "${port}-${family}" => { port = port, family = family, cidr = cidr } }]...)
}

resource "aws_security_group" "node" {
  name_prefix = "${local.prefix}-"
  description = "Servers of ${local.prefix}: HTTP and HTTPS from everywhere"
  vpc_id      = aws_vpc.this.id

  tags = { Name = local.prefix }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "web" {
  for_each = local.web

  security_group_id = aws_security_group.node.id
  description       = each.value.port == 80 ? "HTTP" : "HTTPS"
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_ipv4         = each.value.family == "ipv4" ? each.value.cidr : null
  cidr_ipv6         = each.value.family == "ipv6" ? each.value.cidr : null
}

resource "aws_vpc_security_group_ingress_rule" "ssh" {
  for_each = var.ssh == null ? toset([]) : var.ssh.networks

  security_group_id = aws_security_group.node.id
  description       = "SSH"
  ip_protocol       = "tcp"
  from_port         = 22
  to_port           = 22
  cidr_ipv4         = strcontains(each.key, ":") ? null : each.key
  cidr_ipv6         = strcontains(each.key, ":") ? each.key : null
}

# Out: Debian's mirror, the image registry, certificates, AWS. Names and time come from the network itself.
resource "aws_vpc_security_group_egress_rule" "node" {
  for_each = local.out

  security_group_id = aws_security_group.node.id
  description       = "To port ${each.value.port}"
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_ipv4         = each.value.family == "ipv4" ? each.value.cidr : null
  cidr_ipv6         = each.value.family == "ipv6" ? each.value.cidr : null
}

# Nothing is in the network's default group; it lets nothing through.
resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id
}

resource "aws_key_pair" "node" {
  count = var.ssh == null ? 0 : 1

  key_name_prefix = "${local.prefix}-"
  public_key      = var.ssh.public_key
}
