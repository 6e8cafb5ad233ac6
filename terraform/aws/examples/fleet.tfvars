# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

# Several servers, each with a database of its own, in two zones. The last one is switched off: its volume and address stay.

environment = "staging"
bundle_file = "../../build/bundle-0.1.0.tar.gz"

nodes = {
  billing-north = { instance_type = "m7g.large", zone = "a", data_gib = 100, fqdn = "north.example.com" }
  billing-south = { instance_type = "m7g.large", zone = "b", data_gib = 100, fqdn = "south.example.com" }
  billing-old   = { instance_type = "t4g.small", zone = "b", enabled = false }
}

variables = {
  api_image    = "registry.example.com/billing-api:stable"
  api_replicas = 2
}

node_variables = {
  billing-north = { api_replicas = 4 }
}

# The registry's password: export TF_VAR_secrets='{"docker_registries": "[{\"registry\": ..., \"username\": ..., \"password\": ...}]"}'
secret_versions = { docker_registries = 1 }
