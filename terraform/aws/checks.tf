# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

# Said after every plan and apply, as warnings: what is allowed, and probably not meant.

check "images_are_debian_13" {
  assert {
    condition     = alltrue([for image in values(data.aws_ami.node) : startswith(image.name, "debian-13-")])
    error_message = "Not Debian 13, which the bootstrap was tested on: ${join(", ", [for name, image in data.aws_ami.node : "${name} (${image.name})" if !startswith(image.name, "debian-13-")])}."
  }
}

check "somebody_serves" {
  assert {
    condition     = length(local.enabled) > 0
    error_message = "Every node is switched off: volumes and addresses are kept and paid for, nothing serves."
  }
}

check "images_come_from_a_release" {
  assert {
    condition     = !can(regex(":latest$", var.variables.api_image))
    error_message = "api_image follows \"latest\": a tag that says what may be deployed, such as \"stable\", is safer."
  }
}

check "nodes_share_no_zone" {
  assert {
    condition     = length(local.enabled) < 2 || length(distinct([for node in values(local.enabled) : node.zone])) > 1
    error_message = "Every server is in the same availability zone: one outage there takes all of them."
  }
}
