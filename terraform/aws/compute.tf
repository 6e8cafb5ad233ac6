# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

# The servers. All that makes one is in its user data: new user data, or another generation, is a new server around the
# same volume and address.

locals {
  # Graviton: a "g" after the number of the family (t4g, m7gd, im4gn), and a1
  arm = { for name, node in var.nodes : name => can(regex("^(a1|[a-z]+[0-9]+g[a-z]*|[a-z]+[0-9]+gen)\\.", node.instance_type)) }

  devices = { for name, volume in aws_ebs_volume.data : name => "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${replace(volume.id, "-", "")}" }
}

data "aws_ami" "node" {
  for_each = var.nodes

  # Debian's own account publishes the images; one that you name may be anybody's.
  owners      = each.value.image == null ? ["136693071363"] : null
  most_recent = true

  filter {
    name   = each.value.image == null ? "name" : "image-id"
    values = [each.value.image == null ? "debian-13-${local.arm[each.key] ? "arm64" : "amd64"}-*" : each.value.image]
  }

  filter {
    name   = "virtualization-type"
    values = ["hvm"]
  }
}

module "bootstrap" {
  source   = "../modules/bootstrap"
  for_each = var.nodes

  hostname    = each.key
  bundle      = { url = "s3://${aws_s3_object.bundle.bucket}/${aws_s3_object.bundle.key}", sha256 = local.bundle_sha256 }
  secrets     = { source = local.secret_source, path = local.secret_source == "ssm" ? local.secret_path : null, required = local.secret_names }
  data_volume = { device = local.devices[each.key], mount = local.mount }
  variables   = merge(var.variables, try(var.node_variables[each.key], {}))
  interval    = var.interval
  generation  = each.value.generation
  status_url  = "s3://${aws_s3_bucket.this.id}/${local.status_keys[each.key]}"
  region      = var.region
}

# Debian's image lacks the agent of Session Manager: a second unit, beside that of the bootstrap, installs it.
locals {
  agent_url = coalesce(try(var.ssm_agent.url, null), "https://s3.${var.region}.${data.aws_partition.current.dns_suffix}/amazon-ssm-${var.region}/latest")

  user_data = { for name, made in module.bootstrap : name => var.ssm_agent == null ? made.user_data : join("\n", ["#cloud-config", yamlencode(merge(
    yamldecode(made.user_data),
    {
      write_files = concat(yamldecode(made.user_data).write_files, [
        {
          path        = "/etc/systemd/system/amazon-ssm-agent-install.service"
          permissions = "0644"
          content = templatefile("${path.module}/files/amazon-ssm-agent-install.service.tftpl", {
            url    = "${local.agent_url}/debian_${local.arm[name] ? "arm64" : "amd64"}/amazon-ssm-agent.deb"
            sha256 = try(var.ssm_agent.sha256, null)
          })
        },
      ])
      # The bootstrap's own commands end with the mark that all of it is done.
      runcmd = concat([["systemctl", "enable", "--now", "--no-block", "amazon-ssm-agent-install.service"]], yamldecode(made.user_data).runcmd)
    },
  ))]) }
}

resource "aws_instance" "node" {
  # checkov:skip=CKV_AWS_126: metrics every minute cost extra and nothing here reads them; the service has metrics of its own
  for_each = local.enabled

  ami                         = data.aws_ami.node[each.key].id
  instance_type               = each.value.instance_type
  subnet_id                   = aws_subnet.public[each.value.zone].id
  ipv6_addresses              = [local.ipv6_addresses[each.key]]
  vpc_security_group_ids      = [aws_security_group.node.id]
  iam_instance_profile        = aws_iam_instance_profile.node[each.key].name
  key_name                    = one(aws_key_pair.node[*].key_name)
  user_data_base64            = base64gzip(local.user_data[each.key])
  user_data_replace_on_change = true
  ebs_optimized               = true

  # Session tokens only, and none for what is a network hop away: the API's and the database's containers. Nginx runs in
  # the host's own network and is none.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "disabled"
  }

  root_block_device {
    volume_type           = "gp3"
    volume_size           = each.value.root_gib
    encrypted             = true
    delete_on_termination = true
  }

  tags = { Name = "${local.prefix}-${each.key}" }

  lifecycle {
    # A newer image comes with the next replacement and is no reason for one.
    ignore_changes = [ami]

    precondition {
      condition     = data.aws_ami.node[each.key].architecture == (local.arm[each.key] ? "arm64" : "x86_64")
      error_message = "${each.key}: the image ${data.aws_ami.node[each.key].id} is ${data.aws_ami.node[each.key].architecture}, which ${each.value.instance_type} does not run. Choose another image or instance_type."
    }

    precondition {
      # 16,384 bytes before base64, which makes four of three
      condition     = length(base64gzip(local.user_data[each.key])) <= 21844
      error_message = "${each.key}: the user data has more than 16 KB even when compressed. Put large variables into the bundle."
    }
  }

  # A server that boots before these are there fails its first attempts.
  depends_on = [
    aws_route.ipv4,
    aws_route.ipv6,
    aws_route_table_association.public,
    aws_vpc_security_group_egress_rule.node,
    aws_iam_role_policy.node,
    aws_ssm_parameter.secret,
  ]
}
