# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

locals {
  prefix  = "${var.project}-${var.environment}"
  tags    = merge({ Project = var.project, Environment = var.environment, ManagedBy = "terraform" }, var.tags)
  enabled = { for name, node in var.nodes : name => node if node.enabled }
  mount   = "/srv/billing"

  bundle_sha256 = filesha256(var.bundle_file)
  bundle_key    = "bundles/${local.bundle_sha256}.tar.gz"
  status_keys   = { for name in keys(var.nodes) : name => "status/${name}.json" }
}
