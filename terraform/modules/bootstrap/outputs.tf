# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

output "user_data" {
  description = "User data for cloud-init, in the clear."
  value       = local.user_data
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
