# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

# An instance is a lab host. terraform_data is built in: no provider is downloaded. What it keeps in `input` is what the
# destroy-time provisioner may read (Terraform allows it nothing but `self`).

resource "terraform_data" "host" {
  for_each = var.hosts

  input = {
    lab         = var.lab_name
    lab_command = var.lab_command
  }

  triggers_replace = {
    lab        = var.lab_name
    address    = each.value.address
    generation = [var.generation, each.value.generation]
  }

  # interpreter + command is one argument list: no shell, no quoting.
  provisioner "local-exec" {
    working_dir = "${path.module}/../.."
    interpreter = concat(self.output.lab_command, ["--name", self.output.lab, "host", "add", each.key, "--address"])
    command     = each.value.address
  }

  # The host's data volume outlives it; the next host of this name finds it at /srv/billing.
  provisioner "local-exec" {
    when        = destroy
    working_dir = "${path.module}/../.."
    interpreter = concat(self.output.lab_command, ["--name", self.output.lab, "host", "remove"])
    command     = each.key
  }
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
      type      = "ssh"
      address   = host.address
      user      = var.ssh_user
      host_keys = host.host_keys
      options = { for option, path in {
        private_key_file = var.ssh_private_key_file
        known_hosts_file = var.known_hosts_file
      } : option => path if path != null }
    }
    addresses = { private_ipv4 = host.address }
    volumes   = { data = { id = "billing-lab-${var.lab_name}-${name}-data", mount = "/srv/billing" } }
    groups    = host.groups
  } }
}
