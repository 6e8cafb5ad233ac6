# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

# One server that Ansible reaches from outside, too: from these networks, with this key.

bundle_file = "../../build/bundle-0.1.0.tar.gz"

nodes = {
  billing-api1 = {}
}

variables = {
  api_image = "registry.example.com/billing-api:stable"
}

ssh = {
  networks         = ["198.51.100.0/24", "2001:db8:1::/48"]
  public_key       = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN0tTheRealKeyButOfItsShape00000000000000 you@example.com"
  private_key_file = "~/.ssh/id_ed25519"
}
