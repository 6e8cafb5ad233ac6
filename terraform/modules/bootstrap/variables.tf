# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

variable "hostname" {
  description = "Name of the server: its host name, and its name in Ansible's inventory."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", var.hostname))
    error_message = "hostname is 1 to 63 lower-case letters, digits and dashes, and neither starts nor ends with a dash."
  }
}

variable "bundle" {
  description = "The collections that the server runs, as `ansible-playbook billing.infrastructure.bundle` built them: where they are, and the SHA-256 that they must have."
  type = object({
    url    = string
    sha256 = string
  })
  nullable = false

  validation {
    condition     = can(regex("^(https://[^/\\s]+|s3://[a-z0-9.-]+)/\\S+$", var.bundle.url))
    error_message = "bundle.url is https://HOST/PATH or s3://BUCKET/KEY."
  }

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.bundle.sha256))
    error_message = "bundle.sha256 is 64 lower-case hexadecimal digits, such as filesha256() returns."
  }
}

variable "secrets" {
  description = "Where the server finds secrets. generated: the roles make the passwords of PostgreSQL on the data volume; ssm: also every parameter below path; file: also the JSON object in the file path on the server. required names variables without which the playbook is not run."
  type = object({
    source   = optional(string, "generated")
    path     = optional(string)
    required = optional(list(string), [])
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains(["generated", "ssm", "file"], var.secrets.source)
    error_message = "secrets.source is generated, ssm or file."
  }

  validation {
    condition     = var.secrets.source == "generated" ? var.secrets.path == null : can(regex("^(/[A-Za-z0-9_.-]+)+$", var.secrets.path))
    error_message = "secrets.path is for ssm (such as /billing/production) and file (an absolute path) alone, and both need it."
  }

  validation {
    condition     = var.secrets.source != "generated" || length(var.secrets.required) == 0
    error_message = "secrets.required needs secrets.source ssm or file: what is generated is never missing."
  }
}

variable "data_volume" {
  description = "Block device of the data volume and where it is mounted; formatted only if it is empty. null: no volume of its own."
  type = object({
    device = string
    mount  = optional(string, "/srv/billing")
  })
  default = null

  validation {
    condition     = var.data_volume == null ? true : can(regex("^/dev/[A-Za-z0-9/._:+-]+$", var.data_volume.device)) && can(regex("^(/[A-Za-z0-9_.-]+)+$", var.data_volume.mount))
    error_message = "data_volume.device is a path below /dev (best /dev/disk/by-id/...), data_volume.mount an absolute path without blanks."
  }
}

variable "variables" {
  description = "Ansible variables of the deployment, any JSON; api_image at least. No secrets: user data can be read by whoever may look at the server's description."
  type        = any
  default     = {}
  nullable    = false

  validation {
    condition     = can(keys(var.variables))
    error_message = "variables is an object: { api_image = \"registry.example.com/billing-api:stable\" }."
  }

  # The same expression stands in modules/contract. A Jinja reference, a switch and nothing are no secrets.
  validation {
    condition     = length(regexall("(?i)\"([^\"]*(?:password|passwd|passphrase|_pass|secrets?|token|(?:private|api|access|secret)[_-]?key))\":(?:\"(?:[^\"{]|\\{[^{])|-?[0-9]|\\[[^\\]]|\\{[^}])|://[^/@\"{\\s]*:[^/@\"{\\s]+@", jsonencode(var.variables))) == 0
    error_message = "variables must not carry a secret, at any depth: user data is stored and shown in the clear. Put it where `secrets` says. Wrong: ${join(", ", distinct([for found in regexall("(?i)\"([^\"]*(?:password|passwd|passphrase|_pass|secrets?|token|(?:private|api|access|secret)[_-]?key))\":(?:\"(?:[^\"{]|\\{[^{])|-?[0-9]|\\[[^\\]]|\\{[^}])|://[^/@\"{\\s]*:[^/@\"{\\s]+@", jsonencode(var.variables)) : found[0] == null ? "a URL with a password" : found[0]]))}."
  }
}

variable "playbook" {
  description = "The playbook that is run, a file or a name from a collection of the bundle."
  type        = string
  default     = "billing.infrastructure.deploy_compose"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_./][A-Za-z0-9_./-]*$", var.playbook))
    error_message = "playbook is a name such as billing.infrastructure.deploy_compose."
  }
}

variable "interval" {
  description = "How long after a good run the next one comes, a time span of systemd. A run that fails is repeated much sooner."
  type        = string
  default     = "15min"
  nullable    = false

  validation {
    # What else systemd does not know, it ignores: the timer would fire once, or always
    condition     = can(regex("^[0-9]{1,6} ?(s|sec|second|seconds|m|min|minute|minutes|h|hr|hour|hours|d|day|days)( ?[0-9]{1,6} ?(s|sec|second|seconds|m|min|minute|minutes|h|hr|hour|hours|d|day|days))*$", var.interval)) && can(regex("[1-9]", var.interval))
    error_message = "interval is a time span of systemd longer than nothing, in whole s, min, h or d: 15min, 1h 30min, 1d."
  }
}

variable "generation" {
  description = "Changes nothing but the user data: a new value replaces the server where new user data does."
  type        = string
  default     = "1"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{1,64}$", var.generation))
    error_message = "generation is up to 64 letters, digits, dots, dashes and underscores."
  }
}

variable "ca_certificates" {
  description = "Further certificate authorities that the server trusts, PEM: for a bundle on a private HTTPS server."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for certificate in var.ca_certificates : can(regex("^-----BEGIN CERTIFICATE-----\\s[\\s\\S]*-----END CERTIFICATE-----\\s*$", certificate))])
    error_message = "ca_certificates are PEM texts, each from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----."
  }
}

variable "packages" {
  description = "Further Debian packages that must be there before the playbook runs."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for name in var.packages : can(regex("^[a-z0-9][a-z0-9+.-]+$", name))])
    error_message = "packages are names of Debian packages."
  }
}

variable "status_url" {
  description = "Where the server publishes its readiness besides itself: s3://BUCKET/KEY. null: nowhere."
  type        = string
  default     = null

  validation {
    condition     = var.status_url == null ? true : can(regex("^s3://[a-z0-9.-]+/\\S+$", var.status_url))
    error_message = "status_url is s3://BUCKET/KEY, or null."
  }
}

variable "region" {
  description = "Region that the AWS command line asks (s3 and ssm). null: what the server's own settings say."
  type        = string
  default     = null

  validation {
    condition     = var.region == null ? true : can(regex("^[a-z0-9-]+$", var.region))
    error_message = "region is a name such as eu-central-1, or null."
  }
}
