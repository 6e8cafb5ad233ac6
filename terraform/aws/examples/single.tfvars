# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

# One server, open to nobody but clients.

bundle_file = "../../build/bundle-0.1.0.tar.gz"

nodes = {
  billing-api1 = {}
}

variables = {
  api_image = "registry.example.com/billing-api:stable"
}
