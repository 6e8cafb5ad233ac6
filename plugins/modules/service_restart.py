#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: make the containers of a service anew, gated on health."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_restart
short_description: Restart a service on the release that it has, gated on health
version_added: 0.2.0
description:
  - Makes the containers of a service anew from the same image and configuration, with the strategy and the gates that
    M(billing.infrastructure.image_rollout) was given last. With two slots the other one is started, gets the traffic,
    and only then the one before it is stopped. A service without slots is made anew in its place.
  - No registry is asked, and nothing is pulled. A start that fails leaves the containers that serve as they are.
author:
  - billing.infrastructure contributors (@billing-infrastructure)
extends_documentation_fragment:
  - billing.infrastructure.project
attributes:
  check_mode:
    description: Says what would be restarted.
    support: full
  diff_mode:
    description: The release stays the same.
    support: N/A
options:
  service:
    description: The service, such as V(api), V(nginx) or V(postgres).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Restart the API without losing a request
  billing.infrastructure.service_restart:
    service: api
"""

RETURN = r"""
after:
  description: The release, as M(billing.infrastructure.image_rollout) returns it.
  returned: success
  type: dict
slot:
  description: Slot that serves now, or in check mode would; empty for a service without slots.
  returned: success
  type: str
timeline:
  description: Seconds per phase that ran.
  returned: success
  type: dict
progress:
  description: What was done, in order.
  returned: always
  type: list
  elements: str
failure:
  description: What failed, as M(billing.infrastructure.image_rollout) returns it.
  returned: failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._module import PROJECT_OPTIONS, Progress, engine, fail, result_of
from ..module_utils._rollout.release import RolloutError


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={**PROJECT_OPTIONS, "service": {"type": "str", "required": True}}, supports_check_mode=True
    )
    progress = Progress(module)
    actor = engine(module, progress)
    try:
        outcome = (actor.predict_restart if module.check_mode else actor.restart)(module.params["service"])
    except RolloutError as error:
        fail(module, error, progress=progress.lines)
    module.exit_json(**result_of(outcome), progress=progress.lines)


if __name__ == "__main__":
    main()
