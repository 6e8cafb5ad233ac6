# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

output "user_data" {
  description = "User data for cloud-init, in the clear."
  value       = local.user_data

  precondition {
    condition     = var.data_volume == null ? true : try(var.variables.project_data_root, var.data_volume.mount) == var.data_volume.mount
    error_message = "variables.project_data_root would put PostgreSQL beside the data volume, and its data would go with the server. Leave it out: it is data_volume.mount (${try(var.data_volume.mount, "")})."
  }
}

output "user_data_base64" {
  description = "The same, compressed and in base64: what clouds with a limit of 16 KB take (user_data_base64 of aws_instance)."
  value       = local.user_data_base64

  precondition {
    # 16,384 bytes before base64, which makes four of three
    condition     = length(local.user_data_base64) <= 21844
    error_message = "The user data has more than 16 KB even when compressed: put large variables or certificates into the bundle or a file on a server."
  }
}
