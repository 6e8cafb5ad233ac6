# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

# What outlives a server: its data volume, and the bucket for the bundle, the servers' status and backups.

resource "aws_ebs_volume" "data" {
  # checkov:skip=CKV_AWS_189: encrypted with the key that AWS keeps for the account; a key of one's own costs a dollar a month
  for_each = var.nodes

  availability_zone = "${var.region}${each.value.zone}"
  type              = "gp3"
  size              = each.value.data_gib
  encrypted         = true

  tags = { Name = "${local.prefix}-${each.key}-data" }

  lifecycle {
    # The invoices. README.md says how to let go of them.
    prevent_destroy = true
  }
}

resource "aws_volume_attachment" "data" {
  for_each = aws_instance.node

  device_name = "/dev/sdf"
  volume_id   = aws_ebs_volume.data[each.key].id
  instance_id = each.value.id

  # PostgreSQL and the file system end in peace before the volume is taken from under them.
  stop_instance_before_detaching = true
}

resource "aws_s3_bucket" "this" {
  # checkov:skip=CKV_AWS_18: a log of accesses needs a second bucket, and only the servers of this root may read this one
  # checkov:skip=CKV_AWS_144: a copy in another region costs as much again and is a decision of its own; add a replication rule for it
  # checkov:skip=CKV_AWS_145: encrypted with the keys of S3; a key of one's own costs a dollar a month and a charge for every request
  # checkov:skip=CKV2_AWS_62: nothing has to happen when an object comes; servers and people ask the bucket themselves
  bucket        = var.bucket
  bucket_prefix = var.bucket == null ? "${local.prefix}-" : null
  force_destroy = var.bucket_force_destroy
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket = aws_s3_bucket.this.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    id     = "everything"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }

    noncurrent_version_expiration {
      noncurrent_days = 30
    }
  }

  rule {
    id     = "backups"
    status = "Enabled"

    filter {
      prefix = "backups/"
    }

    expiration {
      days = var.backup_days
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

data "aws_iam_policy_document" "bucket" {
  statement {
    sid       = "OnlyTLS"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.this.arn, "${aws_s3_bucket.this.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "this" {
  bucket = aws_s3_bucket.this.id
  policy = data.aws_iam_policy_document.bucket.json

  depends_on = [aws_s3_bucket_public_access_block.this]
}

resource "aws_s3_object" "bundle" {
  bucket      = aws_s3_bucket.this.id
  key         = local.bundle_key
  source      = var.bundle_file
  source_hash = local.bundle_sha256

  lifecycle {
    # The old bundle stays until the servers that run it are gone.
    create_before_destroy = true
  }

  depends_on = [aws_s3_bucket_versioning.this, aws_s3_bucket_server_side_encryption_configuration.this]
}

# What a server says of itself. The first word is Terraform's, with each new server: the old one's "ready" goes with it.
resource "aws_s3_object" "status" {
  # checkov:skip=CKV_AWS_186: encrypted with the keys of S3; a key of one's own costs a dollar a month and a charge for every request
  for_each = local.enabled

  bucket       = aws_s3_bucket.this.id
  key          = local.status_keys[each.key]
  content_type = "application/json"
  content = jsonencode({
    state    = "waiting"
    phase    = ""
    reason   = "the server was made and has said nothing yet: its packages come first, which takes minutes; after that see its console"
    hostname = each.key
  })

  lifecycle {
    # Every further word is the server's.
    ignore_changes       = all
    replace_triggered_by = [aws_instance.node[each.key].id]
  }

  depends_on = [aws_s3_bucket_versioning.this, aws_s3_bucket_server_side_encryption_configuration.this]
}
