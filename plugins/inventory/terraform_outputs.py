# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

from __future__ import annotations

DOCUMENTATION = r"""
name: terraform_outputs
short_description: Hosts and groups from the outputs of a Terraform or OpenTofu project
version_added: 0.1.0
author:
  - billing.infrastructure contributors (@billing)
description:
  - Reads one root output of a Terraform or OpenTofu project, by default C(ansible_inventory), that keeps the inventory
    contract of this collection, version 1. The Terraform module C(terraform/modules/contract) builds and checks it.
  - Uses a configuration file whose name ends in C(terraform_outputs.yml) or C(terraform_outputs.yaml).
  - A local state file is read directly; no process is started and neither Terraform nor OpenTofu need be installed.
    Otherwise C(terraform output -json) is asked.
  - Whatever is wrong is one error that says what, where, and what to do next. Set
    E(ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED), or Ansible goes on without the hosts after it.
notes:
  - Every value that comes from Terraform is untrusted text, a template in it is not evaluated.
  - Each host gets the variable C(terraform_host), a dictionary of the contract's C(resource_id), C(connection),
    C(addresses), C(placement), C(volumes) and C(project). The C(vars) of a host or group become variables of their own
    names; those of a host win over the connection variables below.
  - The connection type C(ssh) sets C(ansible_connection=ssh), C(ansible_host), and unless null C(ansible_port) and
    C(ansible_user). C(local) sets C(ansible_connection=local). C(docker) sets
    C(ansible_connection=community.docker.docker), its address is the container. C(none) sets nothing, C(group_vars) or
    O(compose) decide how such hosts are reached.
  - For C(ssh), C(options.private_key_file) becomes C(ansible_ssh_private_key_file). C(host_keys) and
    C(options.known_hosts_file) go into C(ansible_ssh_common_args), together with C(StrictHostKeyChecking=yes), and no
    other known hosts are believed. Host keys need no file, they use C(KnownHostsCommand) of OpenSSH 8.5 or newer. Where
    the contract has neither, your own SSH configuration decides. C(ansible_ssh_extra_args) is left to you.
  - Relative paths in the C(options) of a connection start from O(project_path), or from the directory of O(state_file).
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description: Marks the file as a configuration of this plugin.
    type: str
    required: true
    choices:
      - billing.infrastructure.terraform_outputs
  project_path:
    description:
      - Directory of the Terraform root module. Relative paths start from the directory of the configuration file.
      - Its C(terraform.tfstate) is read directly, unless the project has a configured backend or another workspace than
        C(default) is selected. Then, or without that file, O(binary) is asked.
      - Exactly one of O(project_path) and O(state_file) is required.
    type: str
  state_file:
    description:
      - State file to read directly. Relative paths start from the directory of the configuration file.
      - Exactly one of O(project_path) and O(state_file) is required.
    type: str
  output:
    description: Name of the root output that holds the contract.
    type: str
    default: ansible_inventory
  binary:
    description: Program to ask, a name on E(PATH) or a path. By default C(terraform), else C(tofu).
    type: str
    env:
      - name: BILLING_TERRAFORM_BINARY
  timeout:
    description: Seconds after which asking O(binary) is given up.
    type: float
    default: 60
  cache:
    description:
      - Keep what O(binary) answered. A state file that is read directly is never cached.
"""

EXAMPLES = r"""
# inventory/terraform_outputs.yml: the state file of an applied project
plugin: billing.infrastructure.terraform_outputs
state_file: ../build/lab/demo/terraform.tfstate

---
# A project, wherever its state is kept; the answer is remembered for five minutes
plugin: billing.infrastructure.terraform_outputs
project_path: ../terraform/aws
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/ansible/inventory
cache_timeout: 300

---
# Groups by zone (zone_eu_central_1a), and the private address in place of the public one
plugin: billing.infrastructure.terraform_outputs
project_path: ../terraform/aws
binary: tofu
keyed_groups:
  - key: terraform_host.placement.zone
    prefix: zone
groups:
  staging: terraform_host.project.environment == 'staging'
compose:
  ansible_host: terraform_host.addresses.private_ipv4
strict: true
"""

import hashlib
import os
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.unsafe_proxy import wrap_var

from ..plugin_utils._terraform_contract import Inventory, TerraformError, build_inventory, check_contract
from ..plugin_utils._terraform_outputs import local_state, read_state, run_output, selected_workspace


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    NAME = "billing.infrastructure.terraform_outputs"

    def verify_file(self, path: str) -> bool:
        """Tell whether `path` is a configuration of this plugin, by the end of its name."""
        return bool(super().verify_file(path)) and path.endswith(("terraform_outputs.yml", "terraform_outputs.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill `inventory` from the Terraform output that the configuration file `path` names."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            value, base, source = self._read_output(path, cache)
            try:
                found = build_inventory(check_contract(value), base)
            except TerraformError as error:
                raise TerraformError(f"The output {self.get_option('output')!r} in {source}: {error}") from None
            self._populate(found)
        except TerraformError as error:
            raise AnsibleParserError(str(error)) from None  # Ansible prints causes as well: the same text twice

    def _read_output(self, path: str, cache: bool) -> tuple[Any, Path, Path]:
        """Return the output's value, the directory that its relative paths start from, and where it was found."""
        project_path, state_file = self.get_option("project_path"), self.get_option("state_file")
        if bool(project_path) == bool(state_file):
            raise TerraformError(f"Set exactly one of project_path and state_file in {path}.")
        here = Path(path).resolve().parent
        output = str(self.get_option("output"))
        if state_file:
            state = _resolve(here, state_file)
            return read_state(state, output), state.parent, state
        project = _resolve(here, project_path)
        local = local_state(project, os.environ)
        if local is not None:
            return read_state(local, output), project, local
        return self._ask_terraform(path, project, output, cache), project, project

    def _ask_terraform(self, path: str, project: Path, output: str, cache: bool) -> Any:
        """Run the binary, or take its last answer for the same project, workspace and output from the cache."""
        caching = bool(self.get_option("cache"))
        same = "\0".join([str(project), selected_workspace(project, os.environ), output])
        key = f"{self.get_cache_key(path)}_{hashlib.sha256(same.encode()).hexdigest()[:12]}"
        if caching and cache:
            try:
                return self._cache[key]
            except KeyError:
                pass  # expired or never written
        value = run_output(project, output, self.get_option("binary"), self.get_option("timeout"))
        if caching:
            self._cache[key] = value
        return value

    def _populate(self, found: Inventory) -> None:
        for group in found.groups:
            self.inventory.add_group(group.name)
            self._set_variables(group.name, group.variables)
        try:
            for group in found.groups:
                for child in group.children:
                    self.inventory.add_child(group.name, child)
        except AnsibleError as error:  # Ansible refuses a loop
            raise TerraformError(f"The groups of the contract cannot be nested: {error}") from None
        strict = self.get_option("strict")
        for host in found.hosts:
            self.inventory.add_host(host.name)
            for name in host.groups:
                self.inventory.add_child(name, host.name)
            self._set_variables(host.name, host.variables)
            known = self.inventory.get_host(host.name).get_vars()
            self._set_composite_vars(self.get_option("compose"), known, host.name, strict=strict)
            self._add_host_to_composed_groups(self.get_option("groups"), {}, host.name, strict=strict)
            self._add_host_to_keyed_groups(self.get_option("keyed_groups"), {}, host.name, strict=strict)

    def _set_variables(self, entity: str, variables: dict[str, Any]) -> None:
        for name, value in variables.items():
            self.inventory.set_variable(entity, name, wrap_var(value))


def _resolve(base: Path, path: str) -> Path:
    """Return `path` as an absolute one; a relative one starts from `base`."""
    return Path(os.path.normpath(base / Path(str(path)).expanduser()))
