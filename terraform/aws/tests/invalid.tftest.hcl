# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

# The real provider's schema; what AWS would answer is made up. Plans only: a volume that nothing may destroy cannot be
# taken down after a test.
mock_provider "aws" {
  override_during = plan

  mock_data "aws_ami" {
    defaults = { id = "ami-0123456789abcdef0", name = "debian-13-amd64-20260101-0001", architecture = "x86_64" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
  mock_resource "aws_vpc" {
    defaults = { ipv6_cidr_block = "2001:db8:1200:3400::/56" }
  }
  mock_resource "aws_ebs_volume" {
    defaults = { id = "vol-0123456789abcdef0" }
  }
  mock_resource "aws_eip" {
    defaults = { id = "eipalloc-0123456789abcdef0", public_ip = "203.0.113.10" }
  }
  mock_resource "aws_instance" {
    defaults = { id = "i-0123456789abcdef0", private_ip = "10.20.0.10", availability_zone = "eu-central-1a" }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { id = "billing-production-0123", arn = "arn:aws:s3:::billing-production-0123" }
  }
}

variables {
  bundle_file = "versions.tf" # any file
  nodes       = { billing-api1 = {} }
  variables   = { api_image = "registry.example.com/billing-api:stable" }
}

run "a_region_is_a_name" {
  command         = plan
  expect_failures = [var.region]
  variables {
    region = "Frankfurt"
  }
}

run "a_project_has_a_short_name" {
  command         = plan
  expect_failures = [var.project]
  variables {
    project = "a-project-with-a-name"
  }
}

run "an_environment_has_a_plain_name" {
  command         = plan
  expect_failures = [var.environment]
  variables {
    environment = "Production"
  }
}

run "tags_of_amazon_are_refused" {
  command         = plan
  expect_failures = [var.tags]
  variables {
    tags = { "aws:x" = "y" }
  }
}

run "no_node_is_refused" {
  command         = plan
  expect_failures = [var.nodes]
  variables {
    nodes = {}
  }
}

run "a_node_has_a_host_name" {
  command         = plan
  expect_failures = [var.nodes]
  variables {
    nodes = { Billing_API = {} }
  }
}

run "a_node_has_a_name_that_fits_a_role" {
  command         = plan
  expect_failures = [var.nodes]
  variables {
    nodes = { a-name-of-more-than-thirty-chars = {} }
  }
}

run "a_generation_is_a_word" {
  command         = plan
  expect_failures = [var.nodes]
  variables {
    nodes = { a = { generation = "new one" } }
  }
}

run "xen_is_refused" {
  command         = plan
  expect_failures = [var.nodes]
  variables {
    nodes = { a = { instance_type = "t2.micro" } }
  }
}

run "an_instance_type_is_a_name" {
  command         = plan
  expect_failures = [var.nodes]
  variables {
    nodes = { a = { instance_type = "small" } }
  }
}

run "a_zone_is_a_letter" {
  command         = plan
  expect_failures = [var.nodes]
  variables {
    nodes = { a = { zone = "eu-central-1a" } }
  }
}

run "an_image_is_an_id" {
  command         = plan
  expect_failures = [var.nodes]
  variables {
    nodes = { a = { image = "debian-13" } }
  }
}

run "a_volume_has_a_size" {
  command         = plan
  expect_failures = [var.nodes]
  variables {
    nodes = { a = { data_gib = 0 } }
  }
}

run "a_disk_holds_debian" {
  command         = plan
  expect_failures = [var.nodes]
  variables {
    nodes = { a = { root_gib = 4 } }
  }
}

run "an_fqdn_is_no_url" {
  command         = plan
  expect_failures = [var.nodes]
  variables {
    nodes = { a = { fqdn = "https://api.example.com" } }
  }
}

run "a_bundle_that_is_not_there_is_refused" {
  command         = plan
  expect_failures = [var.bundle_file]
  variables {
    bundle_file = "no-such-bundle.tar.gz"
  }
}

run "an_image_of_the_api_is_needed" {
  command         = plan
  expect_failures = [var.variables]
  variables {
    variables = { api_replicas = 2 }
  }
}

run "variables_of_an_unknown_node_are_refused" {
  command         = plan
  expect_failures = [var.node_variables]
  variables {
    node_variables = { billing-api9 = { api_replicas = 2 } }
  }
}

run "variables_of_a_node_are_an_object" {
  command         = plan
  expect_failures = [var.node_variables]
  variables {
    node_variables = { billing-api1 = "x" }
  }
}

run "a_secret_has_a_name_of_a_variable" {
  command         = plan
  expect_failures = [var.secret_versions]
  variables {
    secret_versions = { "docker-registries" = 1 }
  }
}

run "a_version_is_a_whole_number" {
  command         = plan
  expect_failures = [var.secret_versions]
  variables {
    secret_versions = { docker_registries = 0 }
  }
}

run "a_secret_without_a_value_is_refused" {
  command         = plan
  expect_failures = [var.secrets]
  variables {
    secret_versions = { docker_registries = 1 }
  }
}

run "an_empty_secret_is_refused" {
  command         = plan
  expect_failures = [var.secrets]
  variables {
    secrets = { docker_registries = "" }
  }
}

run "a_secret_elsewhere_has_a_name_of_a_variable" {
  command         = plan
  expect_failures = [var.secrets_elsewhere]
  variables {
    secrets_elsewhere = ["a/b"]
  }
}

run "ssh_is_never_open_to_the_world" {
  command         = plan
  expect_failures = [var.ssh]
  variables {
    ssh = { networks = ["0.0.0.0/0"], public_key = "ssh-ed25519 AAAA" }
  }
}

run "ssh_is_never_open_to_the_world_of_ipv6" {
  command         = plan
  expect_failures = [var.ssh]
  variables {
    ssh = { networks = ["::/0"], public_key = "ssh-ed25519 AAAA" }
  }
}

run "ssh_is_never_open_to_half_the_world" {
  command         = plan
  expect_failures = [var.ssh]
  variables {
    ssh = { networks = ["0.0.0.0/1", "128.0.0.0/1"], public_key = "ssh-ed25519 AAAA" }
  }
}

run "ssh_needs_a_network" {
  command         = plan
  expect_failures = [var.ssh]
  variables {
    ssh = { networks = [], public_key = "ssh-ed25519 AAAA" }
  }
}

run "ssh_networks_have_a_length" {
  command         = plan
  expect_failures = [var.ssh]
  variables {
    ssh = { networks = ["198.51.100.7"], public_key = "ssh-ed25519 AAAA" }
  }
}

run "a_private_key_is_refused" {
  command         = plan
  expect_failures = [var.ssh]
  variables {
    ssh = { networks = ["198.51.100.7/32"], public_key = "-----BEGIN OPENSSH PRIVATE KEY-----" }
  }
}

run "a_network_is_large_enough" {
  command         = plan
  expect_failures = [var.network_cidr]
  variables {
    network_cidr = "10.20.0.0/28"
  }
}

run "a_network_begins_at_its_first_address" {
  command         = plan
  expect_failures = [var.network_cidr]
  variables {
    network_cidr = "10.20.0.1/16"
  }
}

run "the_mirror_and_aws_are_needed" {
  command         = plan
  expect_failures = [var.egress_ports]
  variables {
    egress_ports = [5000]
  }
}

run "a_bucket_has_a_plain_name" {
  command         = plan
  expect_failures = [var.bucket]
  variables {
    bucket = "Billing_Bucket"
  }
}

run "backups_live_for_a_day_at_least" {
  command         = plan
  expect_failures = [var.backup_days]
  variables {
    backup_days = 0
  }
}

run "the_agent_comes_by_https" {
  command         = plan
  expect_failures = [var.ssm_agent]
  variables {
    ssm_agent = { url = "http://files.example.com" }
  }
}

run "a_short_checksum_of_the_agent_is_refused" {
  command         = plan
  expect_failures = [var.ssm_agent]
  variables {
    ssm_agent = { sha256 = "0123" }
  }
}

run "an_image_of_another_architecture_is_refused" {
  command         = plan
  expect_failures = [aws_instance.node["billing-api1"]]
  variables {
    nodes = { billing-api1 = { instance_type = "t4g.small", image = "ami-0123456789abcdef0" } }
  }
}

run "all_switched_off_is_warned_of" {
  command         = plan
  expect_failures = [check.somebody_serves]
  variables {
    nodes = { a = { enabled = false } }
  }
}

run "latest_is_warned_of" {
  command         = plan
  expect_failures = [check.images_come_from_a_release]
  variables {
    variables = { api_image = "registry.example.com/billing-api:latest" }
  }
}

run "one_zone_for_all_is_warned_of" {
  command         = plan
  expect_failures = [check.nodes_share_no_zone]
  variables {
    nodes = { a = {}, b = {} }
  }
}

run "another_system_is_warned_of" {
  command         = plan
  expect_failures = [check.images_are_debian_13]
  override_data {
    target          = data.aws_ami.node
    override_during = plan
    values          = { id = "ami-0123456789abcdef0", name = "ubuntu-26.04", architecture = "x86_64" }
  }
}
