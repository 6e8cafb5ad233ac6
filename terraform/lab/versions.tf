# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

terraform {
  required_version = ">= 1.6.0"

  # One root, many labs: each brings a TF_DATA_DIR of its own and names its state with
  # terraform init -backend-config=path=build/lab/NAME/terraform.tfstate
  backend "local" {}
}
