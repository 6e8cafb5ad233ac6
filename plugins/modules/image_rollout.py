#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: bring a service to the image digest behind a reference."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_rollout
short_description: Roll a service to the digest behind an image reference
version_added: 0.1.0
description:
  - Resolves the reference to a digest with one C(HEAD) request, pulls exactly that digest, starts it, waits until it
    is healthy and only then gives it the place of the release before it. A release that does not become healthy is
    taken away again.
  - A release is the image digest and the configuration. A changed environment or Compose fragment is rolled out like a
    changed image.
  - The Compose fragment C(compose.d/<service>.yaml) below O(root) says how the service runs. Roles
    P(billing.infrastructure.api#role), P(billing.infrastructure.nginx#role) and
    P(billing.infrastructure.postgres#role) render it.
author:
  - billing.infrastructure contributors (@billing-infrastructure)
extends_documentation_fragment:
  - billing.infrastructure.project
attributes:
  check_mode:
    description: Resolves the digest and predicts; pulls and starts nothing. Works before Docker is installed.
    support: full
  diff_mode:
    description: Shows image and configuration hash before and after, never a value of the configuration.
    support: full
options:
  service:
    description: The service, which is also the name of its Compose fragment.
    type: str
    required: true
  image:
    description: Image reference, C(registry/name:tag) or C(registry/name@sha256:...).
    type: str
    required: true
  strategy:
    description:
      - How a running release is replaced.
      - V(blue_green) starts the idle slot, writes the Nginx upstream file, reloads Nginx, waits for the last old worker
        and stops the old slot.
      - V(handover) starts a second container beside the first on the same C(reuseport) sockets and then lets the first
        finish.
      - V(recreate) stops the container and starts the new one in its place. When the new image fails, the old one is
        started again.
    type: str
    choices: [blue_green, handover, recreate]
    required: true
  slot_addresses:
    description: For O(strategy=blue_green), the C(address:port) of every replica of the slots V(blue) and V(green).
    type: dict
  env_file:
    description: Environment file of the release, relative to O(root). It is copied into the release.
    type: str
    default: ''
  config_files:
    description: Further files, relative to O(root) or absolute, whose content is part of the release.
    type: list
    elements: str
    default: []
  migrate:
    description: Run the one-off service C(<service>-migrate) of the new release before it starts.
    type: bool
    default: false
  pending_config:
    description: Tells check mode that a task before this one would change a file of the release.
    type: bool
    default: false
  timeout:
    description: Seconds that the gate may take, and again the migration, and the wait for another rollout.
    type: int
    default: 120
  drain_timeout:
    description: Seconds that old Nginx workers may take to finish. Longer than C(worker_shutdown_timeout) of Nginx.
    type: int
    default: 90
"""

EXAMPLES = r"""
- name: Roll the API to what its tag names now
  billing.infrastructure.image_rollout:
    service: api
    image: registry.example.com/billing-api:stable
    strategy: blue_green
    slot_addresses:
      blue: ["10.201.0.11:8000"]
      green: ["10.201.0.21:8000"]
    env_file: api.env
    migrate: true
"""

RETURN = r"""
before:
  description: The release that was live; C(none) before the first.
  returned: success
  type: dict
  contains: &release
    id:
      description: Short name of the release.
      type: str
    image:
      description: Reference pinned to the digest.
      type: str
    digest:
      description: Image digest.
      type: str
    config_hash:
      description: Keyed hash of the configuration.
      type: str
after:
  description:
    - The release that is live now, or would be.
    - C(none) in check mode on a host without Docker when the registry cannot be asked yet.
  returned: success
  type: dict
  contains: *release
slot:
  description: Slot that serves, empty for O(strategy=recreate).
  returned: success
  type: str
  sample: blue
timeline:
  description: Seconds per phase that ran.
  returned: success
  type: dict
  sample: {resolve: 0.02, pull: 3.1, start: 0.6, gate: 1.4, switch: 0.1, drain: 11.2}
failure:
  description: What failed.
  returned: failure
  type: dict
  contains:
    code:
      description: Stable word for programs.
      type: str
      sample: unhealthy
    message:
      description: What happened, to what, and what to do next.
      type: str
    details:
      description: Facts such as the command and its return code.
      type: dict
    logs:
      description: Last log lines of the container that failed.
      type: list
      elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._module import PROJECT_OPTIONS, engine, fail
from ..module_utils._rollout.engine import Outcome
from ..module_utils._rollout.release import Intent, Release, RolloutError


def intent_of(params: dict[str, Any]) -> Intent:
    """Return the engine's intent for the module's parameters."""
    return Intent(
        service=params["service"],
        image=params["image"],
        strategy=params["strategy"],
        slot_addresses=params["slot_addresses"] or {},
        env_file=params["env_file"],
        config_files=tuple(params["config_files"]),
        migrate=params["migrate"],
        timeout=float(params["timeout"]),
        drain_timeout=float(params["drain_timeout"]),
    )


def result_of(outcome: Outcome) -> dict[str, Any]:
    """Return the public result, with a diff that names releases only."""

    def shown(release: Release | None) -> dict[str, str] | None:
        return release.as_dict() if release else None

    return {
        "changed": outcome.changed,
        "before": shown(outcome.before),
        "after": shown(outcome.after),
        "slot": outcome.slot,
        "timeline": outcome.timeline,
        "diff": {
            "before": shown(outcome.before) or {},
            "after": shown(outcome.after) or ({"image": "resolved at run time"} if outcome.changed else {}),
        },
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **PROJECT_OPTIONS,
            "service": {"type": "str", "required": True},
            "image": {"type": "str", "required": True},
            "strategy": {"type": "str", "required": True, "choices": ["blue_green", "handover", "recreate"]},
            "slot_addresses": {"type": "dict"},
            "env_file": {"type": "str", "default": ""},
            "config_files": {"type": "list", "elements": "str", "default": []},
            "migrate": {"type": "bool", "default": False},
            "pending_config": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 120},
            "drain_timeout": {"type": "int", "default": 90},
        },
        required_if=[("strategy", "blue_green", ["slot_addresses"])],
        supports_check_mode=True,
    )
    try:
        wanted = intent_of(module.params)
        if module.check_mode:
            outcome = engine(module).predict(wanted, module.params["pending_config"])
        else:
            outcome = engine(module).apply(wanted)
    except RolloutError as error:
        fail(module, error)
    module.exit_json(**result_of(outcome))


if __name__ == "__main__":
    main()
