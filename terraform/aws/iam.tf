# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

# A role for each server: it reads its bundle and its secrets, writes its status and its backups, and is reached by
# Session Manager. Nothing else, and nothing of another server.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "node" {
  for_each = var.nodes

  statement {
    sid       = "Bundle"
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.this.arn}/${local.bundle_key}"]
  }

  statement {
    sid       = "Status"
    actions   = ["s3:PutObject"]
    resources = ["${aws_s3_bucket.this.arn}/${local.status_keys[each.key]}"]
  }

  statement {
    sid       = "Backups"
    actions   = ["s3:PutObject", "s3:AbortMultipartUpload"]
    resources = ["${aws_s3_bucket.this.arn}/backups/${each.key}/*"]
  }

  dynamic "statement" {
    for_each = local.secret_source == "ssm" ? [1] : []

    content {
      sid       = "Secrets"
      actions   = ["ssm:GetParametersByPath"]
      resources = ["arn:${data.aws_partition.current.partition}:ssm:${var.region}:${data.aws_caller_identity.current.account_id}:parameter${local.secret_path}"]
    }
  }

  # What the agent needs for sessions; these know no resource. Amazon's own policy for it, AmazonSSMManagedInstanceCore,
  # would let a server read every parameter of the account.
  dynamic "statement" {
    for_each = var.ssm_agent == null ? [] : [1]

    content {
      sid = "SessionManager"
      actions = [
        "ssm:UpdateInstanceInformation",
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
      ]
      resources = ["*"]
    }
  }
}

resource "aws_iam_role" "node" {
  for_each = var.nodes

  name               = "${local.prefix}-${each.key}"
  description        = "What the server ${each.key} of ${local.prefix} may do"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

resource "aws_iam_role_policy" "node" {
  for_each = var.nodes

  name   = "bootstrap"
  role   = aws_iam_role.node[each.key].id
  policy = data.aws_iam_policy_document.node[each.key].json
}

resource "aws_iam_instance_profile" "node" {
  for_each = var.nodes

  name = "${local.prefix}-${each.key}"
  role = aws_iam_role.node[each.key].name
}
