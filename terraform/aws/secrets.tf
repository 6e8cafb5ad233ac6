# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

# Secrets go from an ephemeral variable into the SSM Parameter Store through a write-only argument: neither the plan nor
# the state holds them. The servers read them there by themselves.

locals {
  secret_path   = "/${var.project}/${var.environment}"
  secret_names  = setunion(keys(var.secret_versions), var.secrets_elsewhere)
  secret_source = length(local.secret_names) > 0 ? "ssm" : "generated"
}

resource "aws_ssm_parameter" "secret" {
  # checkov:skip=CKV_AWS_337: encrypted with the key that AWS keeps for the account; a key of one's own costs a dollar a month
  for_each = var.secret_versions

  name             = "${local.secret_path}/${each.key}"
  description      = "Ansible variable of ${local.prefix}"
  type             = "SecureString"
  value_wo         = var.secrets[each.key]
  value_wo_version = each.value
}
