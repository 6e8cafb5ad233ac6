# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

variable "region" {
  description = "AWS region that everything is in."
  type        = string
  default     = "eu-central-1"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region is a name such as eu-central-1."
  }
}

variable "project" {
  description = "Name of the project: the first part of every name."
  type        = string
  default     = "billing"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,15}$", var.project))
    error_message = "project is up to 16 lower-case letters, digits and dashes, starting with a letter."
  }
}

variable "environment" {
  description = "Name of the environment: the second part of every name. Another environment needs a state of its own."
  type        = string
  default     = "production"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,15}$", var.environment))
    error_message = "environment is up to 16 lower-case letters, digits and dashes, starting with a letter."
  }
}

variable "tags" {
  description = "Further tags for everything that is made."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for name in keys(var.tags) : !startswith(lower(name), "aws:") && name != "Name"])
    error_message = "tags must not begin with aws: (those are Amazon's) and Name is given by this root."
  }
}

variable "nodes" {
  description = "The servers by name. `enabled = false` removes the server and keeps its volume and address; another `generation` replaces the server around them."
  type = map(object({
    enabled       = optional(bool, true)                # false: no server; volume and address are kept
    generation    = optional(string, "1")               # another one replaces the server
    instance_type = optional(string, "t3.small")        # of a family on AWS Nitro; t4g and the like get the image for arm64
    zone          = optional(string, "a")               # letter of the availability zone; the volume stays in it
    image         = optional(string)                    # ami-...; null: the newest Debian 13. Another one waits for the next generation
    root_gib      = optional(number, 16)                # GiB of the disk that goes with the server
    data_gib      = optional(number, 20)                # GiB of the data volume; grows, never shrinks
    fqdn          = optional(string)                    # DNS name that you point to the address
    groups        = optional(list(string), ["billing"]) # Ansible groups in the inventory
    host_keys     = optional(list(string), [])          # public SSH host keys, where SSH is open
  }))
  nullable = false

  validation {
    condition     = length(var.nodes) > 0
    error_message = "nodes names one server at least: { billing-api1 = {} }."
  }

  validation {
    condition     = alltrue([for name in keys(var.nodes) : can(regex("^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$", name))])
    error_message = "A node's name is 1 to 30 lower-case letters, digits and dashes, and neither starts nor ends with a dash. Wrong: ${join(", ", [for name in keys(var.nodes) : name if !can(regex("^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$", name))])}."
  }

  validation {
    condition     = alltrue([for node in values(var.nodes) : can(regex("^[A-Za-z0-9_.-]{1,64}$", node.generation))])
    error_message = "generation is up to 64 letters, digits, dots, dashes and underscores."
  }

  validation {
    condition     = alltrue([for node in values(var.nodes) : can(regex("^[a-z0-9-]+\\.[a-z0-9-]+$", node.instance_type))])
    error_message = "instance_type is a name such as t3.small."
  }

  validation {
    # AWS Nitro shows a volume under its id; its predecessor, Xen, does not.
    condition     = alltrue([for node in values(var.nodes) : !can(regex("^(t1|t2|m[1-4]|cc?[1-4]|cr1|r3|r4|i2|i3|d2|h1|hs1|x1e?|p2|p3|g2|g3s?|f1)\\.", node.instance_type))])
    error_message = "instance_type must be of a family on AWS Nitro (t3 and t4g, m5 and c5, and what came after them). Wrong: ${join(", ", [for name, node in var.nodes : "${name} (${node.instance_type})" if can(regex("^(t1|t2|m[1-4]|cc?[1-4]|cr1|r3|r4|i2|i3|d2|h1|hs1|x1e?|p2|p3|g2|g3s?|f1)\\.", node.instance_type))])}."
  }

  validation {
    condition     = alltrue([for node in values(var.nodes) : can(regex("^[a-f]$", node.zone))])
    error_message = "zone is the letter of an availability zone, a to f."
  }

  validation {
    condition     = alltrue([for node in values(var.nodes) : node.image == null ? true : can(regex("^ami-[0-9a-f]{8,17}$", node.image))])
    error_message = "image is the id of an image (ami-...), or null for the newest Debian 13."
  }

  validation {
    condition     = alltrue([for node in values(var.nodes) : node.root_gib >= 8 && node.root_gib <= 16384 && floor(node.root_gib) == node.root_gib])
    error_message = "root_gib is a whole number from 8 to 16384."
  }

  validation {
    condition     = alltrue([for node in values(var.nodes) : node.data_gib >= 1 && node.data_gib <= 16384 && floor(node.data_gib) == node.data_gib])
    error_message = "data_gib is a whole number from 1 to 16384."
  }

  validation {
    condition     = alltrue([for node in values(var.nodes) : node.fqdn == null ? true : can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$", node.fqdn))])
    error_message = "fqdn is a DNS name such as api.example.com, or null."
  }

  validation {
    condition     = length(distinct([for name in keys(var.nodes) : substr(sha256(name), 0, 8)])) == length(var.nodes)
    error_message = "Two of these names give the same IPv6 address: rename one."
  }
}

variable "bundle_file" {
  description = "The bundle that `ansible-playbook billing.infrastructure.bundle` built: what the servers run. Another one replaces the servers."
  type        = string
  nullable    = false

  validation {
    condition     = fileexists(var.bundle_file)
    error_message = "There is no file ${var.bundle_file}: build it with `ansible-playbook billing.infrastructure.bundle`, or correct bundle_file (relative paths start from where Terraform runs)."
  }
}

variable "variables" {
  description = "Ansible variables of every server, any JSON; `api_image` at least. No secrets: they are in the user data. A change replaces the servers."
  type        = any
  nullable    = false

  validation {
    condition     = can(var.variables.api_image) && can(regex("^\\S+$", var.variables.api_image))
    error_message = "variables is an object that names the image of the API: { api_image = \"registry.example.com/billing-api:stable\" }."
  }
}

variable "node_variables" {
  description = "Ansible variables of one server by its name, over `variables`."
  type        = any
  default     = {}
  nullable    = false

  validation {
    condition     = can([for variables in values(var.node_variables) : keys(variables)])
    error_message = "node_variables is an object of objects: { billing-api1 = { variable = value } }."
  }

  validation {
    condition     = length(setsubtract(try(keys(var.node_variables), []), keys(var.nodes))) == 0
    error_message = "node_variables names servers that are not in nodes: ${join(", ", setsubtract(try(keys(var.node_variables), []), keys(var.nodes)))}."
  }
}

variable "secret_versions" {
  description = "Secrets that Terraform writes into the SSM Parameter Store, Ansible variable => version. Their values come from `secrets`; they are written when the version changes."
  type        = map(number)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for name in keys(var.secret_versions) : can(regex("^[A-Za-z_][A-Za-z0-9_]*$", name))])
    error_message = "A name in secret_versions is that of an Ansible variable: letters, digits and underscores, not starting with a digit."
  }

  validation {
    condition     = alltrue([for version in values(var.secret_versions) : version >= 1 && floor(version) == version])
    error_message = "A version in secret_versions is a whole number from 1 on."
  }
}

variable "secrets" {
  description = "Values of the secrets by name, best from the environment (`TF_VAR_secrets`). Never stored, so that every run needs them; written when the version in `secret_versions` changes."
  type        = map(string)
  default     = {}
  nullable    = false
  ephemeral   = true
  sensitive   = true

  validation {
    condition     = alltrue([for name in keys(var.secret_versions) : contains(keys(var.secrets), name)])
    error_message = "secrets lacks a value for a name in secret_versions: set TF_VAR_secrets to a JSON object with one text for each, on every run."
  }

  validation {
    condition     = alltrue([for value in values(var.secrets) : length(value) > 0])
    error_message = "A value in secrets is empty: AWS stores no empty parameter."
  }
}

variable "secrets_elsewhere" {
  description = "Secrets that somebody else puts below the same SSM path: a server waits for them as for those of `secret_versions`."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for name in var.secrets_elsewhere : can(regex("^[A-Za-z_][A-Za-z0-9_]*$", name))])
    error_message = "A name in secrets_elsewhere is that of an Ansible variable: letters, digits and underscores, not starting with a digit."
  }
}

variable "ssh" {
  description = "Opens SSH for these networks and makes Ansible's inventory use it. `public_key` is for the user `admin` of the image. null: closed."
  type = object({
    networks         = set(string)
    public_key       = string
    private_key_file = optional(string)
  })
  default = null

  validation {
    condition     = var.ssh == null ? true : length(var.ssh.networks) > 0
    error_message = "ssh.networks names one network at least; for none, leave ssh null."
  }

  validation {
    condition     = var.ssh == null ? true : alltrue([for network in var.ssh.networks : can(cidrhost(network, 0))])
    error_message = "ssh.networks are networks with a prefix length, such as 198.51.100.7/32 or 2001:db8::/56."
  }

  validation {
    # Two halves of the world are the world, too.
    condition     = var.ssh == null ? true : alltrue([for network in var.ssh.networks : try(tonumber(split("/", network)[1]), 0) >= (strcontains(network, ":") ? 32 : 16)])
    error_message = "SSH is never open to the world: networks in ssh.networks are /16 or smaller (IPv6: /32 or smaller)."
  }

  validation {
    condition     = var.ssh == null ? true : can(regex("^(ssh-ed25519|ssh-rsa) [0-9A-Za-z+/]+={0,2}( [^\\r\\n]*)?$", var.ssh.public_key))
    error_message = "ssh.public_key is one line: \"ssh-ed25519 AAAA...\". AWS takes Ed25519 and RSA."
  }
}

variable "network_cidr" {
  description = "IPv4 network of the VPC."
  type        = string
  default     = "10.20.0.0/16"
  nullable    = false

  validation {
    condition     = can(cidrnetmask(var.network_cidr)) && try(tonumber(split("/", var.network_cidr)[1]), 0) >= 16 && try(tonumber(split("/", var.network_cidr)[1]), 99) <= 24 && try(cidrhost(var.network_cidr, 0) == split("/", var.network_cidr)[0], false)
    error_message = "network_cidr is an IPv4 network from /16 to /24, such as 10.20.0.0/16."
  }
}

variable "egress_ports" {
  description = "TCP ports that the servers may reach elsewhere. A registry on a port of its own needs that one, too."
  type        = set(number)
  default     = [80, 443]
  nullable    = false

  validation {
    condition     = alltrue([for port in var.egress_ports : port >= 1 && port <= 65535 && floor(port) == port]) && length(setsubtract([80, 443], var.egress_ports)) == 0
    error_message = "egress_ports are whole numbers from 1 to 65535, 80 and 443 among them: Debian's mirror and AWS need those."
  }
}

variable "bucket" {
  description = "Name of the bucket for the bundle, the servers' status and backups. null: a name is made up."
  type        = string
  default     = null

  validation {
    condition     = var.bucket == null ? true : can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "bucket is 3 to 63 lower-case letters, digits and dashes, starting and ending with a letter or digit. It must be unique in the world."
  }
}

variable "bucket_force_destroy" {
  description = "Lets `terraform destroy` delete the bucket with backups in it. Apply it before."
  type        = bool
  default     = false
  nullable    = false
}

variable "backup_days" {
  description = "Days after which a backup in the bucket is deleted, and 30 days later for good."
  type        = number
  default     = 35
  nullable    = false

  validation {
    condition     = var.backup_days >= 1 && floor(var.backup_days) == var.backup_days
    error_message = "backup_days is a whole number from 1 on."
  }
}

variable "interval" {
  description = "How often a server puts itself right, a time span of systemd."
  type        = string
  default     = "15min"
  nullable    = false
}

variable "ssm_agent" {
  description = "The agent of Session Manager, which Debian's image lacks. `url` null: Amazon's bucket in the region; `sha256` pins the package. null: no agent."
  type = object({
    url    = optional(string)
    sha256 = optional(string)
  })
  default = {}

  validation {
    condition     = try(var.ssm_agent.url, null) == null ? true : can(regex("^https://\\S+$", var.ssm_agent.url))
    error_message = "ssm_agent.url is https://... or null."
  }

  validation {
    condition     = try(var.ssm_agent.sha256, null) == null ? true : can(regex("^[0-9a-f]{64}$", var.ssm_agent.sha256))
    error_message = "ssm_agent.sha256 is 64 lower-case hexadecimal digits, or null."
  }
}
