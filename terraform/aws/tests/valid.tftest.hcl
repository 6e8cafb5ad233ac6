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

run "one_server_with_a_volume_and_an_address" {
  command = plan

  assert {
    condition     = keys(aws_instance.node) == ["billing-api1"] && keys(aws_ebs_volume.data) == ["billing-api1"] && keys(aws_eip.node) == ["billing-api1"]
    error_message = "One of each."
  }
  assert {
    condition     = aws_instance.node["billing-api1"].metadata_options[0].http_tokens == "required" && aws_instance.node["billing-api1"].metadata_options[0].http_put_response_hop_limit == 1
    error_message = "The metadata service wants a token, and answers no container."
  }
  assert {
    condition     = aws_instance.node["billing-api1"].root_block_device[0].encrypted && aws_ebs_volume.data["billing-api1"].encrypted && aws_ebs_volume.data["billing-api1"].type == "gp3"
    error_message = "Both disks are encrypted."
  }
  assert {
    condition     = aws_volume_attachment.data["billing-api1"].stop_instance_before_detaching
    error_message = "A volume leaves a server that is stopped."
  }
  assert {
    condition     = aws_instance.node["billing-api1"].user_data_replace_on_change
    error_message = "New user data is a new server."
  }
  assert {
    condition     = output.service_urls == { billing-api1 = "http://203.0.113.10" }
    error_message = "The elastic address serves."
  }
}

run "user_data_finds_volume_bundle_and_bucket" {
  command = plan

  assert {
    condition     = jsondecode([for file in yamldecode(local.user_data["billing-api1"]).write_files : file.content if file.path == "/etc/billing-bootstrap/config.json"][0]).data_volume == { device = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0", mount = "/srv/billing" }
    error_message = "The device has the volume's id, as Nitro names it."
  }
  assert {
    condition     = jsondecode([for file in yamldecode(local.user_data["billing-api1"]).write_files : file.content if file.path == "/etc/billing-bootstrap/config.json"][0]).bundle == { url = "s3://billing-production-0123/bundles/${filesha256("versions.tf")}.tar.gz", sha256 = filesha256("versions.tf") }
    error_message = "The bundle is named by its checksum."
  }
  assert {
    condition     = jsondecode([for file in yamldecode(local.user_data["billing-api1"]).write_files : file.content if file.path == "/etc/billing-bootstrap/config.json"][0]).status_url == "s3://billing-production-0123/status/billing-api1.json"
    error_message = "The status has a place of its own."
  }
  assert {
    condition     = startswith(local.user_data["billing-api1"], "#cloud-config\n")
    error_message = "cloud-init knows it by its first line."
  }
}

run "agent_of_session_manager_is_installed_beside_the_bootstrap" {
  command = plan

  assert {
    condition     = length(yamldecode(local.user_data["billing-api1"]).write_files) == length(yamldecode(module.bootstrap["billing-api1"].user_data).write_files) + 1 && strcontains(local.user_data["billing-api1"], "https://s3.eu-central-1.amazonaws.com/amazon-ssm-eu-central-1/latest/debian_amd64/amazon-ssm-agent.deb")
    error_message = "One unit more, for this region and architecture."
  }
  assert {
    condition     = contains(data.aws_iam_policy_document.node["billing-api1"].statement[*].sid, "SessionManager") && output.shell_commands == { billing-api1 = "aws ssm start-session --region eu-central-1 --target i-0123456789abcdef0" }
    error_message = "The way in is told."
  }
}

run "without_the_agent" {
  command = plan
  variables {
    ssm_agent = null
  }

  assert {
    condition     = local.user_data["billing-api1"] == module.bootstrap["billing-api1"].user_data && !contains(data.aws_iam_policy_document.node["billing-api1"].statement[*].sid, "SessionManager") && output.shell_commands == {}
    error_message = "Neither agent nor rights for it."
  }
}

run "agent_may_be_pinned" {
  command = plan
  variables {
    ssm_agent = { url = "https://files.example.com/ssm", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
  }

  assert {
    condition     = strcontains(local.user_data["billing-api1"], "https://files.example.com/ssm/debian_amd64/amazon-ssm-agent.deb /run/amazon-ssm-agent.deb SHA256:0123456789abcdef")
    error_message = "apt-helper compares the checksum."
  }
}

run "http_and_https_from_everywhere_and_nothing_else" {
  command = plan

  assert {
    condition     = toset([for rule in values(aws_vpc_security_group_ingress_rule.web) : "${rule.from_port}-${rule.to_port} ${coalesce(rule.cidr_ipv4, rule.cidr_ipv6)}"]) == toset(["80-80 0.0.0.0/0", "443-443 0.0.0.0/0", "80-80 ::/0", "443-443 ::/0"])
    error_message = "80 and 443, IPv4 and IPv6."
  }
  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.ssh) == 0 && length(aws_key_pair.node) == 0 && output.ansible_inventory.hosts["billing-api1"].connection.type == "none"
    error_message = "SSH is closed, and Ansible does not try."
  }
}

run "ssh_for_named_networks" {
  command = plan
  variables {
    ssh = { networks = ["198.51.100.7/32", "2001:db8::/64"], public_key = "ssh-ed25519 AAAA", private_key_file = "id" }
  }

  assert {
    condition     = toset([for rule in values(aws_vpc_security_group_ingress_rule.ssh) : "${rule.from_port}-${rule.to_port} ${coalesce(rule.cidr_ipv4, rule.cidr_ipv6)}"]) == toset(["22-22 198.51.100.7/32", "22-22 2001:db8::/64"])
    error_message = "Exactly these."
  }
  assert {
    condition     = output.ansible_inventory.hosts["billing-api1"].connection.type == "ssh" && output.ansible_inventory.hosts["billing-api1"].connection.user == "admin" && output.ansible_inventory.hosts["billing-api1"].connection.options["private_key_file"] == "id"
    error_message = "Ansible uses it."
  }
}

run "a_node_that_is_switched_off_keeps_volume_and_address" {
  command = plan
  variables {
    nodes = { billing-api1 = {}, billing-api2 = { enabled = false } }
  }

  assert {
    condition     = keys(aws_instance.node) == ["billing-api1"] && length(aws_ebs_volume.data) == 2 && length(aws_eip.node) == 2 && keys(aws_volume_attachment.data) == ["billing-api1"]
    error_message = "Only the server is gone."
  }
  assert {
    condition     = keys(output.ansible_inventory.hosts) == ["billing-api1"] && keys(output.service_urls) == ["billing-api1"] && length(output.addresses) == 2
    error_message = "Ansible does not see it."
  }
}

run "a_generation_changes_the_user_data_of_its_node_alone" {
  command = plan
  variables {
    nodes = { billing-api1 = { generation = "2" }, billing-api2 = { zone = "b" } }
  }

  assert {
    condition     = strcontains(local.user_data["billing-api1"], "\\\"generation\\\":\\\"2\\\"") && strcontains(local.user_data["billing-api2"], "\\\"generation\\\":\\\"1\\\"")
    error_message = "Each node has its own."
  }
}

run "graviton_gets_the_image_for_arm64" {
  command = plan
  variables {
    nodes = {
      a = { instance_type = "t4g.small", zone = "b" }
      b = { instance_type = "m7gd.large" }
      c = { instance_type = "im4gn.large" }
      d = { instance_type = "is4gen.medium" }
      e = { instance_type = "a1.medium" }
      f = { instance_type = "c8gn.large" }
    }
  }
  override_data {
    target          = data.aws_ami.node
    override_during = plan
    values          = { id = "ami-0123456789abcdef0", name = "debian-13-arm64-20260101-0001", architecture = "arm64" }
  }

  assert {
    condition     = alltrue([for image in values(data.aws_ami.node) : anytrue([for filter in image.filter : contains(filter.values, "debian-13-arm64-*")])])
    error_message = "They run arm64."
  }
}

run "the_others_get_the_image_for_amd64" {
  command = plan
  variables {
    nodes = {
      a = { instance_type = "t3.small", zone = "b" }
      b = { instance_type = "t3a.small" }
      c = { instance_type = "m7i-flex.large" }
      d = { instance_type = "g4dn.xlarge" }
      e = { instance_type = "g6.xlarge" }
      f = { instance_type = "c6gd.large", enabled = false, image = "ami-0123456789abcdef0" }
    }
  }

  assert {
    condition     = alltrue([for name, image in data.aws_ami.node : anytrue([for filter in image.filter : contains(filter.values, "debian-13-amd64-*")]) if name != "f"])
    error_message = "They run amd64."
  }
  assert {
    condition     = anytrue([for filter in data.aws_ami.node["f"].filter : filter.name == "image-id"])
    error_message = "An image of one's own is taken."
  }
}

run "nodes_of_a_zone_share_a_subnet" {
  command = plan
  variables {
    nodes = { billing-api1 = { zone = "c" }, billing-api2 = { zone = "c" }, billing-api3 = { zone = "a" } } # c is shared
  }

  assert {
    condition     = { for zone, subnet in aws_subnet.public : zone => subnet.cidr_block } == { a = "10.20.0.0/20", c = "10.20.32.0/20" }
    error_message = "A zone has its numbers, whoever else is there."
  }
  assert {
    condition     = length(distinct([for address in values(output.addresses) : address.ipv6])) == 3
    error_message = "Each has an IPv6 address of its own."
  }
}

run "secrets_come_from_ssm_where_there_are_any" {
  command = plan
  variables {
    secret_versions   = { docker_registries = 3 }
    secrets_elsewhere = ["api_key_file"]
    secrets           = { docker_registries = "hush" }
  }

  assert {
    condition     = jsondecode([for file in yamldecode(local.user_data["billing-api1"]).write_files : file.content if file.path == "/etc/billing-bootstrap/config.json"][0]).secrets == { source = "ssm", path = "/billing/production", required = ["api_key_file", "docker_registries"] }
    error_message = "The server waits for all of them."
  }
  assert {
    condition     = aws_ssm_parameter.secret["docker_registries"].value_wo_version == 3 && aws_ssm_parameter.secret["docker_registries"].type == "SecureString" && aws_ssm_parameter.secret["docker_registries"].name == "/billing/production/docker_registries"
    error_message = "Written once for each version."
  }
  assert {
    condition     = !strcontains(local.user_data["billing-api1"], "hush")
    error_message = "No secret in user data."
  }
}

run "variables_of_a_node_win" {
  command = plan
  variables {
    node_variables = { billing-api1 = { api_replicas = 2, api_env = { LOG_LEVEL = "debug" } } }
  }

  assert {
    condition     = jsondecode([for file in yamldecode(local.user_data["billing-api1"]).write_files : file.content if file.path == "/etc/billing-bootstrap/variables.json"][0]) == { project_update_images = false, project_data_root = "/srv/billing", api_image = "registry.example.com/billing-api:stable", api_replicas = 2, api_env = { LOG_LEVEL = "debug" } }
    error_message = "Both arrive, with their types."
  }
  assert {
    condition     = output.ansible_inventory.hosts["billing-api1"].vars == { api_replicas = 2, api_env = { LOG_LEVEL = "debug" } }
    error_message = "Ansible sees the same."
  }
}
