# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

# An instance is a lab host. terraform_data is built in: no provider is downloaded. What it keeps in `input` is what the
# destroy-time provisioner may read (Terraform allows it nothing but `self`).

locals {
  # What the lab's cloud image makes of a host's data volume
  device = "/dev/disk/by-id/lab-data"
}

resource "terraform_data" "host" {
  for_each = var.hosts

  input = {
    lab         = var.lab_name
    lab_command = var.lab_command
  }

  triggers_replace = merge(
    {
      lab        = var.lab_name
      address    = each.value.address
      generation = [var.generation, each.value.generation]
    },
    # New user data is a new server, as with user_data_replace_on_change
    { for name, made in module.bootstrap : "user_data" => sha256(made.user_data_base64) if name == each.key },
  )

  # interpreter + command is one argument list: no shell, no quoting.
  provisioner "local-exec" {
    working_dir = "${path.module}/../.."
    interpreter = concat(
      self.output.lab_command,
      ["--name", self.output.lab, "host", "add", each.key],
      var.bootstrap == null ? [] : ["--cloud-init"],
      ["--address"],
    )
    command     = each.value.address
    environment = { for name, made in module.bootstrap : "LAB_USER_DATA" => made.user_data_base64 if name == each.key }
  }

  # The host's data volume outlives it; the next host of this name finds it at /srv/billing.
  provisioner "local-exec" {
    when        = destroy
    working_dir = "${path.module}/../.."
    interpreter = concat(self.output.lab_command, ["--name", self.output.lab, "host", "remove"])
    command     = each.key
  }
}

# Hosts that configure themselves: cloud-init, no SSH.
module "bootstrap" {
  source   = "../modules/bootstrap"
  for_each = { for name, host in var.hosts : name => host if var.bootstrap != null }

  hostname        = each.key
  bundle          = var.bootstrap.bundle
  secrets         = var.bootstrap.secrets
  data_volume     = { device = local.device }
  variables       = var.bootstrap.variables
  interval        = var.bootstrap.interval
  generation      = "${var.generation}.${each.value.generation}"
  ca_certificates = var.bootstrap.ca_certificates
}

module "contract" {
  source = "../modules/contract"

  project = {
    name        = "billing"
    environment = var.lab_name
    provider    = "lab"
  }

  hosts = { for name, host in var.hosts : name => {
    resource_id = terraform_data.host[name].id
    connection = {
      type      = var.bootstrap == null ? "ssh" : "none"
      address   = host.address
      user      = var.bootstrap == null ? var.ssh_user : null
      host_keys = var.bootstrap == null ? host.host_keys : []
      options = { for option, path in {
        private_key_file = var.ssh_private_key_file
        known_hosts_file = var.known_hosts_file
      } : option => path if path != null && var.bootstrap == null }
    }
    addresses = { private_ipv4 = host.address }
    volumes   = { data = { id = "billing-lab-${var.lab_name}-${name}-data", device = var.bootstrap == null ? null : local.device, mount = "/srv/billing" } }
    groups    = host.groups
  } }
}
