# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

# Version 1 of the contract between Terraform and the inventory plugin billing.infrastructure.terraform_outputs.
# A change that an older plugin would misread gets a new number; the plugin refuses numbers that it does not know.

locals {
  # Every group that anything names, so that the output defines each of them once.
  group_names = setunion(
    keys(var.groups),
    flatten([for host in values(var.hosts) : host.groups]),
    flatten([for group in values(var.groups) : group.children]),
  )
}

output "ansible_inventory" {
  description = "The inventory contract, version 1. Make it a root output of the same name, not sensitive."

  value = {
    version = 1
    project = var.project
    hosts   = { for name, host in var.hosts : name => merge(host, { vars = try(var.host_vars[name], {}) }) }
    groups = { for name in local.group_names : name => {
      vars     = try(var.group_vars[name], {})
      children = try(var.groups[name].children, [])
    } }
  }

  precondition {
    condition     = length(setsubtract(keys(var.host_vars), keys(var.hosts))) == 0
    error_message = "host_vars names hosts that are not in hosts: ${join(", ", setsubtract(keys(var.host_vars), keys(var.hosts)))}."
  }

  precondition {
    condition     = length(setsubtract(keys(var.group_vars), local.group_names)) == 0
    error_message = "group_vars names groups that no host and no entry of groups names: ${join(", ", setsubtract(keys(var.group_vars), local.group_names))}."
  }

  precondition {
    condition     = length(setintersection(keys(var.hosts), local.group_names)) == 0
    error_message = "A host and a group must not share a name: ${join(", ", setintersection(keys(var.hosts), local.group_names))}."
  }
}
