#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: say what runs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout_info
short_description: Say what runs of a project
version_added: 0.1.0
description:
  - Lists the containers of a Compose project with image digest, health and since when they run, what the engine has
    recorded of each service, and the releases in quarantine. Reads only.
author:
  - billing.infrastructure contributors (@billing-infrastructure)
extends_documentation_fragment:
  - billing.infrastructure.project
attributes:
  check_mode:
    description: The module never changes anything.
    support: full
  diff_mode:
    description: The module never changes anything.
    support: N/A
"""

EXAMPLES = r"""
- name: Ask what runs
  billing.infrastructure.rollout_info:
  register: running
"""

RETURN = r"""
services:
  description: One entry per container, sorted by service; empty where nothing was deployed.
  returned: success
  type: list
  elements: dict
  contains:
    service:
      description: Compose service.
      type: str
      sample: api-blue-1
    digest:
      description: Image digest.
      type: str
    state:
      description: State of the container.
      type: str
      sample: running
    health:
      description: Health of the container, empty where it has no health check.
      type: str
      sample: healthy
    since:
      description: When it was started, RFC 3339.
      type: str
releases:
  description: Per service its slot, the live release, the one that a rollback goes to, and the stage of a rollout.
  returned: success
  type: dict
  sample: {api: {slot: blue, live: 2be502aaba17-0a346d7f, previous: null, rollout: null}}
quarantine:
  description: Releases that failed and are refused, C(service/release) to C(code), C(message), C(at) and C(image).
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._module import PROJECT_OPTIONS, Progress, engine, fail
from ..module_utils._rollout.release import RolloutError


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=PROJECT_OPTIONS, supports_check_mode=True)
    actor = engine(module, Progress(module))
    docker = actor.docker
    try:
        containers = docker.containers() if docker.installed() and docker.root.is_dir() else []
        releases, quarantine = actor.status(), actor.store.quarantine()
    except RolloutError as error:
        fail(module, error)
    services = [
        {
            "service": container.service,
            "digest": container.image.rpartition("@")[2],
            "state": container.state,
            "health": container.health,
            "since": container.started_at,
        }
        for container in sorted(containers, key=lambda container: container.service)
    ]
    module.exit_json(changed=False, services=services, releases=releases, quarantine=quarantine)


if __name__ == "__main__":
    main()
