# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

variables {
  hostname  = "billing-api1"
  bundle    = { url = "https://files.example.com/bundle.tar.gz", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
  variables = { api_image = "registry.example.com/billing-api:stable", api_env = { LOG_LEVEL = "debug" }, api_replicas = 2 }
}

run "user_data_is_cloud_config" {
  command = plan

  assert {
    condition     = startswith(output.user_data, "#cloud-config\n")
    error_message = "cloud-init knows it by its first line."
  }
  assert {
    condition     = yamldecode(output.user_data).hostname == "billing-api1"
    error_message = "The server gets its name."
  }
  assert {
    condition     = alltrue([for path in ["/usr/local/lib/billing-bootstrap/billing_bootstrap/__main__.py", "/etc/systemd/system/billing-bootstrap.service", "/etc/systemd/system/billing-bootstrap.timer"] : contains([for file in yamldecode(output.user_data).write_files : file.path], path)])
    error_message = "Program, service and timer are written."
  }
  assert {
    condition     = strcontains(yamldecode(output.user_data).bootcmd[0][2], "arranged") && strcontains(reverse(yamldecode(output.user_data).runcmd)[0][2], "touch /var/lib/billing-bootstrap/arranged")
    error_message = "A first boot that was cut off begins anew; the mark comes last."
  }
  assert {
    condition     = alltrue([for name in ["config_write*files", "config_ca*certs", "config_users*groups", "config_ssh", "config_runcmd", "config_scripts*user"] : contains(split(" ", yamldecode(output.user_data).bootcmd[0][2]), "/var/lib/cloud/instance/sem/${name}")])
    error_message = "Program, authorities, users and keys are begun anew."
  }
  assert {
    condition     = length(output.user_data_base64) < 11 * 1024 * 4 / 3
    error_message = "An ordinary server leaves 5 of the 16 KB that clouds allow for variables and certificates."
  }
}

run "variables_keep_their_types" {
  command = plan

  assert {
    condition     = jsondecode([for file in yamldecode(output.user_data).write_files : file.content if file.path == "/etc/billing-bootstrap/variables.json"][0]) == merge(var.variables, { project_update_images = false })
    error_message = "Variables arrive as they are, and the timer leaves images alone."
  }
}

run "plain_https_needs_no_aws" {
  command = plan

  assert {
    condition     = jsondecode([for file in yamldecode(output.user_data).write_files : file.content if file.path == "/etc/billing-bootstrap/config.json"][0]).packages == ["ansible-core"]
    error_message = "Nothing but Ansible is installed."
  }
  assert {
    condition     = !can(yamldecode(output.user_data).ca_certs)
    error_message = "The system's trust store is left alone."
  }
}

run "references_to_secrets_are_no_secrets" {
  command = plan
  variables {
    variables = { api_image = "x", api_secrets = {}, api_env = { KEY_FILE = "/run/secrets/key", API_KEY = "{{ vault_key }}", TOKEN = "", NO_PASSWORD = true }, url = "postgresql://app:{{ word }}@db:5432/x" }
  }
}

run "data_root_may_be_said_again" {
  command = plan
  variables {
    data_volume = { device = "/dev/sdb", mount = "/data" }
    variables   = { project_data_root = "/data" }
  }
}

run "a_server_without_a_volume_has_its_data_anywhere" {
  command = plan
  variables {
    variables = { project_data_root = "/data" }
  }
}

run "aws_with_a_volume" {
  command = plan
  variables {
    bundle          = { url = "s3://bucket/bundles/x.tar.gz", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
    secrets         = { source = "ssm", path = "/billing/production", required = ["docker_registries"] }
    data_volume     = { device = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123", mount = "/data" }
    status_url      = "s3://bucket/status/billing-api1.json"
    region          = "eu-central-1"
    ca_certificates = ["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
    packages        = ["jq"]
  }

  assert {
    condition     = jsondecode([for file in yamldecode(output.user_data).write_files : file.content if file.path == "/etc/billing-bootstrap/config.json"][0]).packages == ["ansible-core", "e2fsprogs", "awscli", "jq"]
    error_message = "The command line of AWS and what formats a volume come by themselves."
  }
  assert {
    condition     = jsondecode([for file in yamldecode(output.user_data).write_files : file.content if file.path == "/etc/billing-bootstrap/variables.json"][0]).project_data_root == "/data"
    error_message = "The roles keep their data on the volume."
  }
  assert {
    condition     = length(yamldecode(output.user_data).ca_certs.trusted) == 1
    error_message = "Private authorities are trusted."
  }
}

run "a_generation_changes_the_user_data" {
  command = plan
  variables {
    generation = "2"
  }
  assert {
    condition     = strcontains(output.user_data, "\\\"generation\\\":\\\"2\\\"")
    error_message = "The generation is in the user data."
  }
}
