# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

variables {
  hostname = "billing-api1"
  bundle   = { url = "https://files.example.com/bundle.tar.gz", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
}

run "secrets_are_refused_in_variables" {
  command         = plan
  expect_failures = [var.variables]
  variables {
    variables = { postgres_app_password = "x" }
  }
}

run "secrets_are_refused_at_any_depth" {
  command         = plan
  expect_failures = [var.variables]
  variables {
    variables = { docker_registries = [{ registry = "registry.example.com", password = "hunter2" }] }
  }
}

run "passwords_in_urls_are_refused" {
  command         = plan
  expect_failures = [var.variables]
  variables {
    variables = { api_database_url = "postgresql://u:hunter2@db/x" }
  }
}

run "data_root_beside_the_volume_is_refused" {
  command         = plan
  expect_failures = [output.user_data]
  variables {
    data_volume = { device = "/dev/sdb" }
    variables   = { project_data_root = "/data" }
  }
}

run "http_is_refused" {
  command         = plan
  expect_failures = [var.bundle]
  variables {
    bundle = { url = "http://files.example.com/bundle.tar.gz", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
  }
}

run "a_short_checksum_is_refused" {
  command         = plan
  expect_failures = [var.bundle]
  variables {
    bundle = { url = "https://files.example.com/bundle.tar.gz", sha256 = "0123" }
  }
}

run "ssm_needs_a_path" {
  command         = plan
  expect_failures = [var.secrets]
  variables {
    secrets = { source = "ssm" }
  }
}

run "generated_secrets_have_no_path" {
  command         = plan
  expect_failures = [var.secrets]
  variables {
    secrets = { source = "generated", path = "/x" }
  }
}

run "a_device_lies_below_dev" {
  command         = plan
  expect_failures = [var.data_volume]
  variables {
    data_volume = { device = "sdb" }
  }
}

run "an_interval_is_a_time_span" {
  command         = plan
  expect_failures = [var.interval]
  variables {
    interval = "often"
  }
}

run "an_interval_is_longer_than_nothing" {
  command         = plan
  expect_failures = [var.interval]
  variables {
    interval = "0s"
  }
}

run "a_host_name_is_one_label" {
  command         = plan
  expect_failures = [var.hostname]
  variables {
    hostname = "billing_api1"
  }
}

run "user_data_that_is_too_large_is_refused" {
  command         = plan
  expect_failures = [output.user_data_base64]
  variables {
    variables = { blob = join("", [for number in range(1000) : sha512(tostring(number))]) }
  }
}
