# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

# What Ansible is told: output ansible_inventory. The servers configure themselves, so that nothing connects to them unless
# SSH is open.

module "contract" {
  source = "../modules/contract"

  project = {
    name        = var.project
    environment = var.environment
    provider    = "aws"
    region      = var.region
  }

  hosts = { for name, node in local.enabled : name => {
    resource_id = aws_instance.node[name].id
    connection = {
      type      = var.ssh == null ? "none" : "ssh"
      address   = aws_eip.node[name].public_ip
      user      = var.ssh == null ? null : "admin"
      host_keys = var.ssh == null ? [] : node.host_keys
      options   = try(var.ssh.private_key_file, null) == null ? {} : { private_key_file = var.ssh.private_key_file }
    }
    addresses = {
      public_ipv4  = aws_eip.node[name].public_ip
      public_ipv6  = local.ipv6_addresses[name]
      private_ipv4 = aws_instance.node[name].private_ip
      fqdn         = node.fqdn
    }
    placement = {
      region = var.region
      zone   = aws_instance.node[name].availability_zone
      type   = node.instance_type
      arch   = local.arm[name] ? "arm64" : "amd64"
      image  = aws_instance.node[name].ami
    }
    volumes = { data = { id = aws_ebs_volume.data[name].id, device = local.devices[name], mount = local.mount } }
    groups  = node.groups
  } }

  groups     = { billing = {} }
  group_vars = { billing = var.variables }
  host_vars  = { for name in keys(local.enabled) : name => var.node_variables[name] if can(var.node_variables[name]) }
}
