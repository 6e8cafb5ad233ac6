# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

# Every rule of the contract, broken once: each run must fail at the address it names.

variables {
  project = { name = "billing" }
  hosts   = { a = { connection = { address = "192.0.2.1" }, groups = ["web"] } }
}

run "project_name_with_a_space" {
  command = plan
  variables {
    project = { name = "my project" }
  }
  expect_failures = [var.project]
}

run "project_name_null" {
  command = plan
  variables {
    project = { name = null }
  }
  expect_failures = [var.project]
}

run "host_name_with_upper_case" {
  command = plan
  variables {
    hosts = { "Api1" = { connection = { address = "192.0.2.1" } } }
  }
  expect_failures = [var.hosts]
}

run "host_name_that_is_a_range" {
  command = plan
  variables {
    hosts = { "api[1:3]" = { connection = { address = "192.0.2.1" } } }
  }
  expect_failures = [var.hosts]
}

run "unknown_connection_type" {
  command = plan
  variables {
    hosts = { a = { connection = { type = "winrm", address = "192.0.2.1" } } }
  }
  expect_failures = [var.hosts]
}

run "ssh_without_address" {
  command = plan
  variables {
    hosts = { a = { connection = { type = "ssh" } } }
  }
  expect_failures = [var.hosts]
}

run "address_that_is_an_option" {
  command = plan
  variables {
    hosts = { a = { connection = { address = "-oProxyCommand=true" } } }
  }
  expect_failures = [var.hosts]
}

run "docker_without_address" {
  command = plan
  variables {
    hosts = { a = { connection = { type = "docker" } } }
  }
  expect_failures = [var.hosts]
}

run "port_zero" {
  command = plan
  variables {
    hosts = { a = { connection = { address = "192.0.2.1", port = 0 } } }
  }
  expect_failures = [var.hosts]
}

run "port_too_large" {
  command = plan
  variables {
    hosts = { a = { connection = { address = "192.0.2.1", port = 65536 } } }
  }
  expect_failures = [var.hosts]
}

run "port_not_whole" {
  command = plan
  variables {
    hosts = { a = { connection = { address = "192.0.2.1", port = 22.5 } } }
  }
  expect_failures = [var.hosts]
}

run "host_key_with_host_name" {
  command = plan
  variables {
    hosts = { a = { connection = { address = "192.0.2.1", host_keys = ["192.0.2.1 ssh-ed25519 AAAA"] } } }
  }
  expect_failures = [var.hosts]
}

run "host_key_with_second_line" {
  command = plan
  variables {
    hosts = { a = { connection = { address = "192.0.2.1", host_keys = ["ssh-ed25519 AAAA\nssh-rsa BBBB"] } } }
  }
  expect_failures = [var.hosts]
}

run "unknown_connection_option" {
  command = plan
  variables {
    hosts = { a = { connection = { address = "192.0.2.1", options = { private_key = "x" } } } }
  }
  expect_failures = [var.hosts]
}

run "ssh_options_on_a_local_host" {
  command = plan
  variables {
    hosts = { a = { connection = { type = "local", options = { private_key_file = "x" } } } }
  }
  expect_failures = [var.hosts]
}

run "public_ipv4_with_prefix" {
  command = plan
  variables {
    hosts = { a = { connection = { address = "192.0.2.1" }, addresses = { public_ipv4 = "192.0.2.1/24" } } }
  }
  expect_failures = [var.hosts]
}

run "private_ipv4_out_of_range" {
  command = plan
  variables {
    hosts = { a = { connection = { address = "192.0.2.1" }, addresses = { private_ipv4 = "10.0.0.256" } } }
  }
  expect_failures = [var.hosts]
}

run "public_ipv6_that_is_ipv4" {
  command = plan
  variables {
    hosts = { a = { connection = { address = "192.0.2.1" }, addresses = { public_ipv6 = "192.0.2.1" } } }
  }
  expect_failures = [var.hosts]
}

run "mount_that_is_relative" {
  command = plan
  variables {
    hosts = { a = { connection = { address = "192.0.2.1" }, volumes = { data = { mount = "srv" } } } }
  }
  expect_failures = [var.hosts]
}

run "group_with_a_dash" {
  command = plan
  variables {
    hosts = { a = { connection = { address = "192.0.2.1" }, groups = ["my-group"] } }
  }
  expect_failures = [var.hosts]
}

run "group_all" {
  command = plan
  variables {
    hosts = { a = { connection = { address = "192.0.2.1" }, groups = ["all"] } }
  }
  expect_failures = [var.hosts]
}

run "group_is_its_own_child" {
  command = plan
  variables {
    groups = { web = { children = ["web"] } }
  }
  expect_failures = [var.groups]
}

run "child_with_a_dash" {
  command = plan
  variables {
    groups = { web = { children = ["a-b"] } }
  }
  expect_failures = [var.groups]
}

run "host_vars_not_objects" {
  command = plan
  variables {
    host_vars = { a = "x" }
  }
  expect_failures = [var.host_vars]
}

run "host_variable_with_a_dash" {
  command = plan
  variables {
    host_vars = { a = { "my-var" = 1 } }
  }
  expect_failures = [var.host_vars]
}

run "host_variable_that_is_a_secret" {
  command = plan
  variables {
    host_vars = { a = { postgres_app_password = "x" } }
  }
  expect_failures = [var.host_vars]
}

run "host_variables_of_an_unknown_host" {
  command = plan
  variables {
    host_vars = { b = { x = 1 } }
  }
  expect_failures = [output.ansible_inventory]
}

run "group_vars_not_objects" {
  command = plan
  variables {
    group_vars = { web = ["x"] }
  }
  expect_failures = [var.group_vars]
}

run "group_variable_with_a_dash" {
  command = plan
  variables {
    group_vars = { web = { "my-var" = 1 } }
  }
  expect_failures = [var.group_vars]
}

run "group_variable_that_is_a_secret" {
  command = plan
  variables {
    group_vars = { web = { registry_token = "x" } }
  }
  expect_failures = [var.group_vars]
}

run "group_variables_of_an_unknown_group" {
  command = plan
  variables {
    group_vars = { db = { x = 1 } }
  }
  expect_failures = [output.ansible_inventory]
}

run "host_and_group_share_a_name" {
  command = plan
  variables {
    groups = { a = {} }
  }
  expect_failures = [output.ansible_inventory]
}

run "user_that_is_an_option" {
  command = plan
  variables {
    hosts = { a = { connection = { address = "192.0.2.1", user = "-oProxyCommand=true" } } }
  }
  expect_failures = [var.hosts]
}

run "option_path_with_a_quotation_mark" {
  command = plan
  variables {
    hosts = { a = { connection = { address = "192.0.2.1", options = { private_key_file = "a\"b" } } } }
  }
  expect_failures = [var.hosts]
}

run "option_path_that_is_null" {
  command = plan
  variables {
    hosts = { a = { connection = { address = "192.0.2.1", options = { private_key_file = null } } } }
  }
  expect_failures = [var.hosts]
}

run "host_variable_with_a_secret_in_it" {
  command = plan
  variables {
    host_vars = { a = { api_env = { STRIPE_SECRET = "sk_live" } } }
  }
  expect_failures = [var.host_vars]
}

run "group_variable_with_a_password_in_a_url" {
  command = plan
  variables {
    group_vars = { web = { api_env = ["DATABASE_URL=postgresql://u:hunter2@db/x"] } }
  }
  expect_failures = [var.group_vars]
}
