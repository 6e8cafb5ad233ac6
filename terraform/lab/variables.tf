# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

variable "lab_name" {
  description = "Name of the lab that the hosts are added to (python3 -m tests.lab --name NAME up)."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*$", var.lab_name))
    error_message = "lab_name is lower-case letters, digits and dashes, starting with a letter."
  }
}

variable "hosts" {
  description = "The hosts of the lab by name. address must be free in the lab's network; generation replaces this one host when it changes."
  type = map(object({
    address    = string
    host_keys  = optional(list(string), [])
    groups     = optional(list(string), ["billing"])
    generation = optional(number, 1)
  }))
  nullable = false
}

variable "generation" {
  description = "Replaces every host when it changes. Data volumes stay."
  type        = number
  default     = 1
  nullable    = false
}

variable "ssh_user" {
  description = "Who Ansible logs in as."
  type        = string
  default     = "root"
  nullable    = false
}

variable "ssh_private_key_file" {
  description = "Private key for the hosts, a path on the controller (relative: to the folder of the state file)."
  type        = string
  default     = null
}

variable "known_hosts_file" {
  description = "known_hosts file with the keys of the hosts, a path on the controller (relative: to the folder of the state file)."
  type        = string
  default     = null
}

variable "lab_command" {
  description = "How to start the lab's command line from the root of the repository."
  type        = list(string)
  default     = ["python3", "-m", "tests.lab"]
  nullable    = false
}

variable "bootstrap" {
  description = "Hosts configure themselves with this, by cloud-init and without SSH. Inputs of modules/bootstrap. null: hosts are reached over SSH."
  type = object({
    bundle          = object({ url = string, sha256 = string })
    secrets         = optional(object({ source = string, path = optional(string), required = optional(list(string), []) }), { source = "generated" })
    variables       = optional(any, {})
    interval        = optional(string, "15min")
    ca_certificates = optional(list(string), [])
  })
  default = null
}
