# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

output "ansible_inventory" {
  description = "What the inventory plugin billing.infrastructure.terraform_outputs reads."
  value       = module.contract.ansible_inventory
}
