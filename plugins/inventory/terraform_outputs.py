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
    For a project without that output, O(resources) says which of its resources are hosts.
  - Uses a configuration file whose name ends in C(terraform_outputs.yml) or C(terraform_outputs.yaml).
  - A local state file is read directly; no process is started and neither Terraform nor OpenTofu need be installed.
    Otherwise C(terraform state pull) is asked.
  - After an apply that failed half-way the outputs still name servers that are gone. Every host whose C(resource_id) is
    not a live resource of the state is refused, see O(on_stale).
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
  - billing.infrastructure.terraform_source
options:
  plugin:
    description: Marks the file as a configuration of this plugin.
    type: str
    required: true
    choices:
      - billing.infrastructure.terraform_outputs
  output:
    description: Name of the root output that holds the contract.
    type: str
    default: ansible_inventory
  resources:
    description:
      - Which resources of the state are hosts, for a project without the contract. O(output) is not read then. The
        first entry that a resource matches decides.
      - Every instance of a resource with C(count) or C(for_each) is a host of its own, named after module, resource and
        key, C(net-web-a) for C(module.net.aws_instance.web["a"]); O(hostname) names it otherwise. Tainted and deposed
        instances are left out, since the next apply removes them.
      - Addresses and placement are known of C(aws_instance), C(azurerm_linux_virtual_machine),
        C(azurerm_windows_virtual_machine), C(digitalocean_droplet), C(google_compute_instance), C(hcloud_server) and
        C(openstack_compute_instance_v2). A host with an address is connected to over SSH, others are left to
        O(compose).
      - C(terraform_host.resource) has C(address), C(module), C(type), C(name), C(key), C(tags) and C(attributes).
    type: list
    elements: dict
    default: []
    suboptions:
      type:
        description: Type of the resource, or C(data.TYPE) for a data source. May be a pattern with C(*).
        type: str
        required: true
      module:
        description: Address of its module, such as C(module.net); V("") for the root. May be a pattern.
        type: str
      name:
        description: Name of the resource. May be a pattern.
        type: str
        default: "*"
      addresses:
        description:
          - Which attribute is C(public_ipv4), C(public_ipv6), C(private_ipv4) or C(fqdn), as a dotted path, such as
            V(network_interface.0.network_ip).
        type: dict
      attributes:
        description: Attributes to keep in C(terraform_host.resource.attributes). A sensitive one is refused.
        type: list
        elements: str
      groups:
        description: Groups of these hosts.
        type: list
        elements: str
      user:
        description: Who Ansible logs in as.
        type: str
      port:
        description: Port of SSH.
        type: int
  connect_with:
    description:
      - Addresses to connect to over SSH in place of the contract's C(connection.address). The first that a host has is
        taken, a host with none of them is an error.
    type: list
    elements: str
    choices:
      - public_ipv4
      - public_ipv6
      - private_ipv4
      - fqdn
  hostname:
    description:
      - Jinja expression that gives the name of a host, such as V(terraform_host.addresses.fqdn). It sees the variables
        of the host, and its name so far as C(inventory_hostname). Two hosts of one name are an error,
        and so is a host named like a group.
    type: str
  hostvars_prefix:
    description: Put before the names of all variables but those that begin with C(ansible_).
    type: str
    default: ""
  filters:
    description:
      - Jinja conditions that all must hold for a host to be taken, such as
        V(terraform_host.placement.zone == 'eu-central-1a'). They see what O(hostname) sees.
    type: list
    elements: str
    default: []
  on_missing:
    description:
      - What to do where nothing is applied yet, with no state, an empty one, or one without O(output) or O(resources).
      - V(warn) and V(ignore) go on without hosts.
    type: str
    default: error
    choices:
      - error
      - warn
      - ignore
  on_stale:
    description:
      - What to do about hosts whose C(resource_id) is not a live and untainted resource of the state.
      - V(skip) leaves them out with a warning. V(ignore) does not look, and asks C(terraform output -json), which may
        be allowed where the whole state is not. Hosts without a C(resource_id) are always taken.
    type: str
    default: error
    choices:
      - error
      - skip
      - ignore
  cache:
    description:
      - Keep what O(binary) answered, without what is not needed of the state. A state file that is read directly is
        never cached.
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
workspace: staging
binary: tofu
connect_with: [private_ipv4]
keyed_groups:
  - key: terraform_host.placement.zone
    prefix: zone
groups:
  staging: terraform_host.project.environment == 'staging'
strict: true

---
# A project without the contract: its running servers, by their Name tag
plugin: billing.infrastructure.terraform_outputs
project_path: ../network
resources:
  - type: aws_instance
    groups: [web]
    user: admin
    attributes: [instance_state]
filters:
  - terraform_host.resource.attributes.instance_state == 'running'
hostname: terraform_host.resource.tags.Name
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.unsafe_proxy import wrap_var

from ..plugin_utils._terraform_command import BINARIES, Command, find_binary
from ..plugin_utils._terraform_contract import Contract, Inventory, TerraformError, build_inventory, is_host_name
from ..plugin_utils._terraform_names import refuse_taken_name
from ..plugin_utils._terraform_project import Project, look_at
from ..plugin_utils._terraform_reading import Reading, Request, read_outputs, reading_of
from ..plugin_utils._terraform_resources import parse_selectors
from ..plugin_utils._terraform_stale import stale_message, without
from ..plugin_utils._terraform_state import (
    StateEncryptedError,
    StateMissingError,
    lock_file,
    lock_holder,
    read_state,
)


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    NAME = "billing.infrastructure.terraform_outputs"

    def verify_file(self, path: str) -> bool:
        """Tell whether `path` is a configuration of this plugin, by the end of its name."""
        return bool(super().verify_file(path)) and path.endswith(("terraform_outputs.yml", "terraform_outputs.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill `inventory` from the Terraform state that the configuration file `path` names."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            request = Request(self.get_option("output"), parse_selectors(self.get_option("resources")))
            try:
                reading, base = self._read(path, request, cache)
            except StateMissingError as error:
                self._decide("on_missing", str(error), "set on_missing to go on without hosts")
                return
            contract = self._without_stale(reading)
            found = build_inventory(
                contract, base, self.get_option("connect_with") or (), self.get_option("hostvars_prefix")
            )
            self._populate(found)
        except TerraformError as error:
            raise AnsibleParserError(str(error)) from None  # Ansible prints causes as well: the same text twice

    def _read(self, path: str, request: Request, cache: bool) -> tuple[Reading, Path]:
        """Return what the state says, and the directory that relative paths of the contract start from."""
        project_path, state_file = self.get_option("project_path"), self.get_option("state_file")
        if bool(project_path) == bool(state_file):
            raise TerraformError(f"Set exactly one of project_path and state_file in {path}.")
        here = Path(path).resolve().parent
        source = self.get_option("source")
        if state_file:
            for option, default in (("source", "auto"), ("workspace", None)):
                if self.get_option(option) not in (default, "state"):
                    raise TerraformError(f"{option} needs project_path in place of state_file. Correct {path}.")
            state = _resolve(here, state_file)
            return self._read_file(state, request), state.parent
        project = look_at(_resolve(here, project_path), self.get_option("workspace"), os.environ)
        if source == "state":
            if project.state is None:
                raise TerraformError(
                    f"The Terraform project {project.folder} has no local state file: {project.elsewhere}."
                )
            return self._read_file(project.state, request), project.folder
        binaries: tuple[str, ...] = BINARIES
        if source == "auto" and project.state is not None and project.has_local_state:
            try:
                return self._read_file(project.state, request), project.folder
            except StateEncryptedError:
                binaries = ("tofu",)
        return self._ask(path, project, binaries, request, cache), project.folder

    def _read_file(self, state: Path, request: Request) -> Reading:
        self._mind_lock(state)
        return reading_of(read_state(state), request)

    def _mind_lock(self, state: Path) -> None:
        """Wait for the lock of a local state file, and say who holds it."""
        if self.get_option("on_lock") == "ignore":
            return
        holder = lock_holder(state, self.get_option("lock_timeout"))
        if holder is not None:
            self._decide(
                "on_lock",
                f"The Terraform state {state} is locked by {holder}: what it says may be half of an apply.",
                f"wait or raise lock_timeout; if nothing runs any more, remove {lock_file(state)}",
            )

    def _ask(self, path: str, project: Project, binaries: tuple[str, ...], request: Request, cache: bool) -> Reading:
        """Run the binary, or take its last answer to the same question from the cache."""
        caching = bool(self.get_option("cache"))
        outputs_only = self.get_option("on_stale") == "ignore" and not request.selectors
        same = json.dumps([str(project.folder), project.workspace, outputs_only, repr(request)])
        key = f"{self.get_cache_key(path)}_{hashlib.sha256(same.encode()).hexdigest()[:12]}"
        if caching and cache:
            try:
                return cast("Reading", self._cache[key])
            except KeyError:
                pass  # expired or never written
        named = self.get_option("workspace") or os.environ.get("TF_WORKSPACE")
        binary = find_binary(self.get_option("binary"), binaries)
        command = Command(binary, project.folder, self.get_option("timeout"), os.environ, named)
        reading = read_outputs(command, request) if outputs_only else reading_of(command.pull_state(), request)
        if caching:
            self._cache[key] = reading
        return reading

    def _without_stale(self, reading: Reading) -> Contract:
        """Refuse hosts whose resource is gone, or leave them out."""
        contract, dead = reading["contract"], reading["dead"]
        policy = self.get_option("on_stale")
        if not dead or policy == "ignore":
            return contract
        message = stale_message(dead, self.get_option("output"), reading["where"])
        if policy == "skip":
            self.display.warning(f"{message} They are left out.")
            return without(contract, dead)
        raise TerraformError(
            f"{message} An apply or destroy failed half-way. Run 'terraform apply' again. Set on_stale to skip to go "
            "on without them, or to ignore where their resources are kept in another state."
        )

    def _decide(self, option: str, message: str, advice: str) -> None:
        """Do about something what an option says: error, warn or ignore."""
        policy = self.get_option(option)
        if policy == "error":
            raise TerraformError(f"{message} ({option}: error; {advice}.)")
        if policy == "warn":
            self.display.warning(message)

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
        compose, groups, keyed = (self.get_option(name) for name in ("compose", "groups", "keyed_groups"))
        origins: dict[str, str] = {}
        for host in found.hosts:
            variables = {name: wrap_var(value) for name, value in host.variables.items()}
            seen = {**variables, "inventory_hostname": wrap_var(host.name)}
            if not self._passes_filters(host.origin, seen):
                continue
            name = self._host_name(host.name, host.origin, seen)
            refuse_taken_name(name, host.origin, origins, self.inventory.groups)
            origins[name] = host.origin
            self.inventory.add_host(name)
            for group_name in host.groups:
                self.inventory.add_child(group_name, name)
            for variable, value in variables.items():
                self.inventory.set_variable(name, variable, value)
            if compose or groups or keyed:
                self._set_composite_vars(compose, self.inventory.get_host(name).get_vars(), name, strict=strict)
                self._add_host_to_composed_groups(groups, {}, name, strict=strict)
                self._add_host_to_keyed_groups(keyed, {}, name, strict=strict)
        for name, origin in origins.items():  # compose may have made groups of that name since
            refuse_taken_name(name, origin, {}, self.inventory.groups)

    def _passes_filters(self, origin: str, variables: Mapping[str, Any]) -> bool:
        for condition in self.get_option("filters"):
            try:
                if not boolean(self._compose(condition, variables)):
                    return False
            except (AnsibleError, TypeError) as error:
                raise TerraformError(f"The filter {condition!r} cannot be decided for {origin}: {error}") from None
        return True

    def _host_name(self, name: str, origin: str, variables: Mapping[str, Any]) -> str:
        expression = self.get_option("hostname")
        if expression:
            try:
                name = self._compose(expression, variables)
            except AnsibleError as error:
                raise TerraformError(f"hostname {expression!r} cannot be evaluated for {origin}: {error}") from None
        if not isinstance(name, str) or not is_host_name(name):
            raise TerraformError(
                f"{name!r} is not a host name for {origin}: use letters, digits, dots, dashes and underscores. "
                f"Correct {'hostname' if expression else 'the name in Terraform, or set hostname'}."
            )
        return str(name)

    def _set_variables(self, entity: str, variables: dict[str, Any]) -> None:
        for name, value in variables.items():
            self.inventory.set_variable(entity, name, wrap_var(value))


def _resolve(base: Path, path: str) -> Path:
    """Return `path` as an absolute one; a relative one starts from `base`."""
    return Path(os.path.normpath(base / Path(str(path)).expanduser()))
