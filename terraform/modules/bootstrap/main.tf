# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

locals {
  uses_aws = startswith(var.bundle.url, "s3://") || var.secrets.source == "ssm" || var.status_url != null

  packages = distinct(concat(
    ["ansible-core"],
    var.data_volume == null ? [] : ["e2fsprogs"],
    local.uses_aws ? ["awscli"] : [],
    var.packages,
  ))

  config = {
    hostname    = var.hostname
    generation  = var.generation
    bundle      = var.bundle
    secrets     = var.secrets
    data_volume = var.data_volume
    playbook    = var.playbook
    packages    = local.packages
    status_url  = var.status_url
    region      = var.region
  }

  # The roles keep data and generated secrets on the volume, wherever it is mounted.
  # Runs by the timer leave the images to rollout_agent and to people: what is held or rolled back stays so.
  variables = merge(
    { project_update_images = false },
    var.data_volume == null ? {} : { project_data_root = var.data_volume.mount },
    var.variables,
  )

  # It is there when the first boot is through.
  arranged = "/var/lib/billing-bootstrap/arranged"

  # What cloud-init keeps of the modules that make this server, however this release of it writes their names.
  begun = [for name in ["write*files", "ca*certs", "users*groups", "ssh", "runcmd", "scripts*user"] : "/var/lib/cloud/instance/sem/config_${name}"]

  program = [for name in fileset("${path.module}/files", "billing_bootstrap/*.py") : {
    path        = "/usr/local/lib/billing-bootstrap/${name}"
    permissions = "0644"
    content     = file("${path.module}/files/${name}")
  }]

  cloud_config = {
    hostname = var.hostname
    ca_certs = { trusted = var.ca_certificates }
    write_files = concat(local.program, [
      { path = "/etc/billing-bootstrap/config.json", permissions = "0600", content = jsonencode(local.config) },
      { path = "/etc/billing-bootstrap/variables.json", permissions = "0600", content = jsonencode(local.variables) },
      { path = "/etc/systemd/system/billing-bootstrap.service", permissions = "0644", content = file("${path.module}/files/billing-bootstrap.service") },
      { path = "/etc/systemd/system/billing-bootstrap.timer", permissions = "0644", content = templatefile("${path.module}/files/billing-bootstrap.timer.tftpl", { interval = var.interval }) },
    ])
    # A power loss in the first boot: cloud-init counts as done what it has begun, so that it is let begin again.
    bootcmd = [["sh", "-c", "[ -e ${local.arranged} ] || rm -f ${join(" ", local.begun)}"]]
    runcmd = [
      ["systemctl", "daemon-reload"],
      ["systemctl", "enable", "--now", "billing-bootstrap.timer"],
      ["sh", "-c", "sync && mkdir -p ${dirname(local.arranged)} && touch ${local.arranged} && sync"],
    ]
  }

  user_data        = "#cloud-config\n${yamlencode({ for key, value in local.cloud_config : key => value if key != "ca_certs" || length(var.ca_certificates) > 0 })}"
  user_data_base64 = base64gzip(local.user_data)
}
