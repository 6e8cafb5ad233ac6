# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

variables {
  project = { name = "billing", environment = "staging", provider = "aws", region = "eu-central-1" }
  hosts = {
    api1 = {
      resource_id = "i-0123"
      connection = {
        address   = "192.0.2.10"
        port      = 2222
        user      = "admin"
        host_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJbq root@api1"]
        options   = { private_key_file = "keys/id_ed25519" }
      }
      addresses = { public_ipv4 = "192.0.2.10", public_ipv6 = "2001:db8::10" }
      placement = { zone = "eu-central-1a" }
      volumes   = { data = { id = "vol-1", mount = "/srv/billing" } }
      groups    = ["billing", "edge"]
    }
    box = { connection = { type = "docker", address = "box-1" } }
    me  = { connection = { type = "local" } }
  }
  host_vars  = { api1 = { api_replicas = 2 }, me = { tags = ["a", "b"] } }
  groups     = { servers = { children = ["billing"] } }
  group_vars = { billing = { billing_public_host = "billing.example.com" } }
}

run "everything_given_arrives" {
  command = plan

  assert {
    condition     = output.ansible_inventory.version == 1
    error_message = "The contract is version 1."
  }
  assert {
    condition     = output.ansible_inventory.project.region == "eu-central-1"
    error_message = "project is handed through."
  }
  assert {
    condition     = output.ansible_inventory.hosts.api1.connection.port == 2222 && output.ansible_inventory.hosts.api1.volumes.data.mount == "/srv/billing"
    error_message = "Host attributes are handed through."
  }
  assert {
    condition     = output.ansible_inventory.hosts.api1.vars.api_replicas == 2 && output.ansible_inventory.hosts.me.vars.tags[1] == "b"
    error_message = "Hosts may have variables of different types."
  }
  assert {
    condition     = output.ansible_inventory.groups.billing.vars.billing_public_host == "billing.example.com" && output.ansible_inventory.groups.servers.children == tolist(["billing"])
    error_message = "Groups carry variables and children."
  }
}

run "keys_are_never_absent" {
  command = plan

  assert {
    condition     = jsonencode(keys(output.ansible_inventory)) == jsonencode(["groups", "hosts", "project", "version"])
    error_message = "The top level has exactly the keys of version 1."
  }
  assert {
    condition     = jsonencode(keys(output.ansible_inventory.hosts.me)) == jsonencode(["addresses", "connection", "groups", "placement", "resource_id", "vars", "volumes"])
    error_message = "A host with nothing but a connection still has every key."
  }
  assert {
    condition     = jsonencode(output.ansible_inventory.hosts.me.connection) == jsonencode({ type = "local", address = null, port = null, user = null, host_keys = [], options = {} })
    error_message = "What was not given is null, or an empty collection."
  }
  assert {
    condition     = jsonencode(output.ansible_inventory.hosts.me.addresses) == jsonencode({ public_ipv4 = null, public_ipv6 = null, private_ipv4 = null, fqdn = null })
    error_message = "Addresses that were not given are null."
  }
  assert {
    condition     = jsonencode(output.ansible_inventory.groups.edge) == jsonencode({ vars = {}, children = [] })
    error_message = "A group that only a host names is defined all the same."
  }
}

run "no_host_at_all_is_valid" {
  command = plan
  variables {
    hosts      = {}
    host_vars  = {}
    group_vars = {}
    groups     = {}
  }
  assert {
    condition     = length(output.ansible_inventory.hosts) == 0
    error_message = "A project may have no host yet."
  }
}
