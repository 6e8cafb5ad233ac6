# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

output "ansible_inventory" {
  description = "What the inventory plugin billing.infrastructure.terraform_outputs reads."
  value       = module.contract.ansible_inventory
}

output "service_urls" {
  description = "Where each server answers."
  value       = { for name, node in var.nodes : name => "http://${coalesce(node.fqdn, aws_eip.node[name].public_ip)}" if node.enabled }
}

output "addresses" {
  description = "Addresses of each node, for DNS. They stay when the server is replaced."
  value       = { for name in keys(var.nodes) : name => { ipv4 = aws_eip.node[name].public_ip, ipv6 = local.ipv6_addresses[name] } }
}

output "instance_ids" {
  description = "The server of each node."
  value       = { for name, instance in aws_instance.node : name => instance.id }
}

output "data_volume_ids" {
  description = "The data volume of each node, which outlives its servers."
  value       = { for name, volume in aws_ebs_volume.data : name => volume.id }
}

output "bucket" {
  description = "The bucket for the bundle, the servers' status and backups."
  value       = aws_s3_bucket.this.id
}

output "secret_path" {
  description = "Below this path of the SSM Parameter Store the servers look for secrets."
  value       = local.secret_path
}

output "status_commands" {
  description = "Commands that tell whether a server is ready, and if not, why."
  value       = { for name in keys(local.enabled) : name => "aws s3 cp --region ${var.region} s3://${aws_s3_bucket.this.id}/${local.status_keys[name]} -" }
}

output "shell_commands" {
  description = "Commands that open a shell on a server, through Session Manager."
  value       = { for name, instance in aws_instance.node : name => "aws ssm start-session --region ${var.region} --target ${instance.id}" if var.ssm_agent != null }
}
