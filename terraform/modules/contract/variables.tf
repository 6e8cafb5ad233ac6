# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

variable "project" {
  description = "What these hosts belong to. Shown to Ansible as terraform_host.project."
  type = object({
    name        = string
    environment = optional(string)
    provider    = optional(string)
    region      = optional(string)
  })
  nullable = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*$", var.project.name))
    error_message = "project.name must be lower-case letters, digits and dashes, starting with a letter."
  }
}

variable "hosts" {
  description = "Hosts by inventory name. Every attribute that is left out becomes null (or an empty collection) in the output, never absent."
  type = map(object({
    resource_id = optional(string)
    connection = optional(object({
      type      = optional(string, "ssh")
      address   = optional(string)
      port      = optional(number)
      user      = optional(string)
      host_keys = optional(list(string), [])
      options   = optional(map(string), {})
    }), {})
    addresses = optional(object({
      public_ipv4  = optional(string)
      public_ipv6  = optional(string)
      private_ipv4 = optional(string)
      fqdn         = optional(string)
    }), {})
    placement = optional(object({
      region = optional(string)
      zone   = optional(string)
      type   = optional(string)
      arch   = optional(string)
      image  = optional(string)
    }), {})
    volumes = optional(map(object({
      id     = optional(string)
      device = optional(string)
      mount  = optional(string)
    })), {})
    groups = optional(list(string), [])
  }))
  nullable = false

  validation {
    condition     = alltrue([for name in keys(var.hosts) : can(regex("^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", name))])
    error_message = "A host name is lower-case letters, digits, dots and dashes, and neither starts nor ends with a dot or dash. Wrong: ${join(", ", [for name in keys(var.hosts) : name if !can(regex("^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", name))])}."
  }

  validation {
    condition     = alltrue([for host in values(var.hosts) : contains(["ssh", "local", "docker", "none"], host.connection.type)])
    error_message = "connection.type is one of ssh, local, docker, none. Wrong in: ${join(", ", [for name, host in var.hosts : name if !contains(["ssh", "local", "docker", "none"], host.connection.type)])}."
  }

  validation {
    condition     = alltrue([for host in values(var.hosts) : host.connection.type != "ssh" || can(regex("^[0-9A-Za-z:][0-9A-Za-z.:%_-]*$", host.connection.address))])
    error_message = "connection.address is required for ssh: a host name or an IP address. Missing or wrong in: ${join(", ", [for name, host in var.hosts : name if host.connection.type == "ssh" && !can(regex("^[0-9A-Za-z:][0-9A-Za-z.:%_-]*$", host.connection.address))])}."
  }

  validation {
    condition     = alltrue([for host in values(var.hosts) : host.connection.type != "docker" || can(regex("^[0-9A-Za-z][0-9A-Za-z_.-]*$", host.connection.address))])
    error_message = "connection.address is required for docker: the container's name or id. Missing or wrong in: ${join(", ", [for name, host in var.hosts : name if host.connection.type == "docker" && !can(regex("^[0-9A-Za-z][0-9A-Za-z_.-]*$", host.connection.address))])}."
  }

  validation {
    condition     = alltrue([for host in values(var.hosts) : host.connection.port == null ? true : host.connection.port >= 1 && host.connection.port <= 65535 && floor(host.connection.port) == host.connection.port])
    error_message = "connection.port is a whole number from 1 to 65535, or null for the default."
  }

  validation {
    condition     = alltrue([for host in values(var.hosts) : host.connection.user == null ? true : can(regex("^[0-9A-Za-z_][0-9A-Za-z_.@+-]*$", host.connection.user))])
    error_message = "connection.user is a login name, or null for the default. Wrong in: ${join(", ", [for name, host in var.hosts : name if host.connection.user == null ? false : !can(regex("^[0-9A-Za-z_][0-9A-Za-z_.@+-]*$", host.connection.user))])}."
  }

  validation {
    condition     = alltrue(flatten([for host in values(var.hosts) : [for key in host.connection.host_keys : can(regex("^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh\\.com|sk-ecdsa-sha2-nistp256@openssh\\.com) [0-9A-Za-z+/]+={0,2}( [^\\r\\n]*)?$", key))]]))
    error_message = "connection.host_keys are public keys as in /etc/ssh/ssh_host_*_key.pub, without a host name in front: \"ssh-ed25519 AAAA...\"."
  }

  validation {
    condition     = alltrue([for host in values(var.hosts) : length(setsubtract(keys(host.connection.options), ["private_key_file", "known_hosts_file"])) == 0])
    error_message = "connection.options knows private_key_file and known_hosts_file, nothing else. Wrong in: ${join(", ", [for name, host in var.hosts : name if length(setsubtract(keys(host.connection.options), ["private_key_file", "known_hosts_file"])) > 0])}."
  }

  validation {
    condition     = alltrue(flatten([for host in values(var.hosts) : [for path in values(host.connection.options) : can(regex("^[^\"$\\\\[:cntrl:]]+$", path))]]))
    error_message = "connection.options holds paths without quotation marks, dollar signs and backslashes."
  }

  validation {
    condition     = alltrue([for host in values(var.hosts) : host.connection.type == "ssh" || (length(host.connection.options) == 0 && length(host.connection.host_keys) == 0)])
    error_message = "connection.options and connection.host_keys are for ssh only. Wrong in: ${join(", ", [for name, host in var.hosts : name if host.connection.type != "ssh" && (length(host.connection.options) > 0 || length(host.connection.host_keys) > 0)])}."
  }

  validation {
    condition = alltrue(flatten([for host in values(var.hosts) : [
      for address in [host.addresses.public_ipv4, host.addresses.private_ipv4] : address == null ? true : can(cidrnetmask("${address}/32"))
    ]]))
    error_message = "addresses.public_ipv4 and addresses.private_ipv4 are IPv4 addresses without a prefix length, or null."
  }

  validation {
    condition = alltrue([for host in values(var.hosts) : host.addresses.public_ipv6 == null ? true : (
      can(cidrhost("${host.addresses.public_ipv6}/128", 0)) && !can(cidrnetmask("${host.addresses.public_ipv6}/32"))
    )])
    error_message = "addresses.public_ipv6 is an IPv6 address without a prefix length, or null."
  }

  validation {
    condition     = alltrue(flatten([for host in values(var.hosts) : [for volume in values(host.volumes) : volume.mount == null ? true : startswith(volume.mount, "/")]]))
    error_message = "volumes.*.mount is an absolute path on the host, or null."
  }

  validation {
    condition     = alltrue(flatten([for host in values(var.hosts) : [for group in host.groups : can(regex("^[a-z_][a-z0-9_]*$", group)) && !contains(["all", "ungrouped"], group)]]))
    error_message = "A group name is lower-case letters, digits and underscores, does not start with a digit, and is not \"all\" or \"ungrouped\" (those are Ansible's). Wrong: ${join(", ", distinct(flatten([for host in values(var.hosts) : [for group in host.groups : group if !can(regex("^[a-z_][a-z0-9_]*$", group)) || contains(["all", "ungrouped"], group)]])))}."
  }
}

variable "host_vars" {
  description = "Ansible variables by host name. An input of its own, so that hosts may have different variables of any type."
  type        = any
  default     = {}
  nullable    = false

  validation {
    condition     = can([for variables in values(var.host_vars) : keys(variables)])
    error_message = "host_vars is an object of objects: { host-name = { variable = value } }."
  }

  validation {
    condition     = alltrue(flatten([for variables in values(var.host_vars) : [for name in try(keys(variables), []) : can(regex("^[A-Za-z_][A-Za-z0-9_]*$", name))]]))
    error_message = "A variable name in host_vars is letters, digits and underscores and does not start with a digit."
  }

  # The same expression stands in modules/bootstrap. A Jinja reference, a switch and nothing are no secrets.
  validation {
    condition     = length(regexall("(?i)\"([^\"]*(?:password|passwd|passphrase|_pass|secrets?|token|(?:private|api|access|secret)[_-]?key))\":(?:\"(?:[^\"{]|\\{[^{])|-?[0-9]|\\[[^\\]]|\\{[^}])|://[^/@\"{\\s]*:[^/@\"{\\s]+@", jsonencode(try(values(var.host_vars), [])))) == 0
    error_message = "host_vars must not carry a secret, at any depth: outputs are stored and printed in the clear. Hand over a path (a name ending in _file) or a name to look it up by. Wrong: ${join(", ", distinct([for found in regexall("(?i)\"([^\"]*(?:password|passwd|passphrase|_pass|secrets?|token|(?:private|api|access|secret)[_-]?key))\":(?:\"(?:[^\"{]|\\{[^{])|-?[0-9]|\\[[^\\]]|\\{[^}])|://[^/@\"{\\s]*:[^/@\"{\\s]+@", jsonencode(try(values(var.host_vars), []))) : found[0] == null ? "a URL with a password" : found[0]]))}."
  }
}

variable "groups" {
  description = "Groups by name, with their child groups. Groups that hosts name need not be repeated here."
  type = map(object({
    children = optional(list(string), [])
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for group in concat(keys(var.groups), flatten([for group in values(var.groups) : group.children])) : can(regex("^[a-z_][a-z0-9_]*$", group)) && !contains(["all", "ungrouped"], group)])
    error_message = "A group name is lower-case letters, digits and underscores, does not start with a digit, and is not \"all\" or \"ungrouped\" (those are Ansible's)."
  }

  validation {
    condition     = !anytrue([for name, group in var.groups : contains(group.children, name)])
    error_message = "A group cannot be its own child. Wrong: ${join(", ", [for name, group in var.groups : name if contains(group.children, name)])}."
  }
}

variable "group_vars" {
  description = "Ansible variables by group name. An input of its own, so that groups may have different variables of any type."
  type        = any
  default     = {}
  nullable    = false

  validation {
    condition     = can([for variables in values(var.group_vars) : keys(variables)])
    error_message = "group_vars is an object of objects: { group_name = { variable = value } }."
  }

  validation {
    condition     = alltrue(flatten([for variables in values(var.group_vars) : [for name in try(keys(variables), []) : can(regex("^[A-Za-z_][A-Za-z0-9_]*$", name))]]))
    error_message = "A variable name in group_vars is letters, digits and underscores and does not start with a digit."
  }

  # The same expression stands in modules/bootstrap. A Jinja reference, a switch and nothing are no secrets.
  validation {
    condition     = length(regexall("(?i)\"([^\"]*(?:password|passwd|passphrase|_pass|secrets?|token|(?:private|api|access|secret)[_-]?key))\":(?:\"(?:[^\"{]|\\{[^{])|-?[0-9]|\\[[^\\]]|\\{[^}])|://[^/@\"{\\s]*:[^/@\"{\\s]+@", jsonencode(try(values(var.group_vars), [])))) == 0
    error_message = "group_vars must not carry a secret, at any depth: outputs are stored and printed in the clear. Hand over a path (a name ending in _file) or a name to look it up by. Wrong: ${join(", ", distinct([for found in regexall("(?i)\"([^\"]*(?:password|passwd|passphrase|_pass|secrets?|token|(?:private|api|access|secret)[_-]?key))\":(?:\"(?:[^\"{]|\\{[^{])|-?[0-9]|\\[[^\\]]|\\{[^}])|://[^/@\"{\\s]*:[^/@\"{\\s]+@", jsonencode(try(values(var.group_vars), []))) : found[0] == null ? "a URL with a password" : found[0]]))}."
  }
}
