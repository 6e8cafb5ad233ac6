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
  - Resolves the reference to a digest with one C(HEAD) request, pulls exactly that digest, starts it beside the release
    that serves, waits until it passes its gates, moves the traffic, waits until nobody uses the old one any more, and
    watches the new one while the old one is still warm. What fails before the traffic moves is taken away; what fails
    afterwards loses the traffic to the old release again.
  - Each run first ends what a run before it has begun, so that a run that was killed at any instruction is made good.
  - A release that failed is in quarantine, and refused until O(force=true) or another image or configuration.
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
  state:
    description:
      - V(live) rolls out what O(image) names.
      - V(rolled_back) goes back to the last good release before the live one, image, environment, secrets, limits
        and rules, as they were kept on the server. No registry is asked. The release that is left is put in quarantine.
    type: str
    choices: [live, rolled_back]
    default: live
  image:
    description: Image reference, C(registry/name:tag) or C(registry/name@sha256:...). For O(state=live).
    type: str
  strategy:
    description:
      - How a running release is replaced.
      - V(blue_green) starts the idle slot, writes the Nginx upstream file, reloads Nginx, waits for the last old worker
        and stops the old slot.
      - V(handover) starts a second container beside the first on the same C(reuseport) sockets and then lets the first
        finish.
      - V(recreate) stops the container and starts the new one in its place. When the new image fails, the old one is
        started again.
      - Needed for O(state=live).
    type: str
    choices: [blue_green, handover, recreate]
  slot_addresses:
    description: For O(strategy=blue_green), the C(address:port) of every replica of the slots V(blue) and V(green).
    type: dict
  env_file:
    description: Environment file of the release, relative to O(root). It is kept with the release.
    type: str
    default: ''
  secret_files:
    description: Files relative to O(root), kept with the release with owner and mode. A rollback restores them.
    type: list
    elements: str
    default: []
  config_files:
    description:
      - Further files, relative to O(root) or absolute, whose content is part of the release but not kept with it.
    type: list
    elements: str
    default: []
  migrate:
    description: Run the one-off service C(<service>-<slot>-migrate) before a digest starts for the first time.
    type: bool
    default: false
  gates:
    description:
      - What a new container must pass before it gets traffic. Each is one of C({"http":"/path"}) (a status below 400 at
        its own address), C({"tcp":true}) or C({"exec":["command","argument"]}).
      - Without any, Docker must call it healthy. With some, Docker must call it healthy before the old release goes.
    type: list
    elements: dict
    default: []
  gate_successes:
    description: How often in a row all gates must hold.
    type: int
    default: 3
  gate_stable:
    description: Seconds that the gates must have held.
    type: float
    default: 0
  soak:
    description: Seconds that the new release is watched after the switch while the old one is still there.
    type: float
    default: 10
  soak_errors:
    description:
      - By how much the share of 5xx answers in the access log (0 to 1) may be larger than the old release's before the
        traffic goes back.
    type: float
    default: 0.02
  keep:
    description: How many good releases are kept with image and files. The live one and the one before it always are.
    type: int
    default: 3
  force:
    description: Roll out a release too that is in quarantine.
    type: bool
    default: false
  update:
    description:
      - Ask the registry what O(image) is now. V(false) keeps the digest that is live as long as O(image) is named the
        same, and rolls out the configuration only, for runs by a timer, which must not move what is held or rolled
        back.
    type: bool
    default: true
  signature_key:
    description:
      - Absolute path on the server of the public key (PEM) that the image must be signed with by cosign. Empty for any
        image.
      - The signature of a digest is checked before anything is pulled; what is not signed with this key is
        refused. Needs C(cosign) 2 or newer on the server. Role P(billing.infrastructure.api#role) sees to key
        and cosign.
      - Only the registry is asked, no transparency log. A rollback does not check again.
    type: path
    default: ''
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
    gates:
      - http: /health/db

- name: Go back to the release before
  billing.infrastructure.image_rollout:
    service: api
    state: rolled_back
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
serve_seconds:
  description: Seconds from the known digest until the new release answered through Nginx.
  returned: success
  type: float
boot_seconds:
  description: Seconds that the application took from its start to its first passed gate.
  returned: success
  type: float
changed_keys:
  description: Names of environment variables that differ from the release before.
  returned: success
  type: list
  elements: str
progress:
  description: What was done, in order, with the seconds since the beginning; in the journal, too.
  returned: always
  type: list
  elements: str
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

from ..module_utils._module import PROJECT_OPTIONS, Progress, engine, fail, result_of
from ..module_utils._rollout.engine import Engine
from ..module_utils._rollout.intent import Gate, Intent
from ..module_utils._rollout.release import RolloutError
from ..module_utils._rollout.state import Outcome


def intent_of(params: dict[str, Any]) -> Intent:
    """Return the engine's intent for the module's parameters."""
    return Intent(
        service=params["service"],
        image=params["image"],
        strategy=params["strategy"],
        slot_addresses=params["slot_addresses"] or {},
        env_file=params["env_file"],
        secret_files=tuple(params["secret_files"]),
        config_files=tuple(params["config_files"]),
        migrate=params["migrate"],
        gates=tuple(map(Gate.parse, params["gates"])),
        successes=params["gate_successes"],
        stable=params["gate_stable"],
        timeout=float(params["timeout"]),
        drain_timeout=float(params["drain_timeout"]),
        soak=params["soak"],
        soak_errors=params["soak_errors"],
        keep=params["keep"],
        force=params["force"],
        update=params["update"],
        signature_key=params["signature_key"],
    )


def roll(module: AnsibleModule, actor: Engine) -> Outcome:
    """Do, or in check mode predict, what the parameters ask for."""
    params = module.params
    if params["state"] == "rolled_back":
        return (actor.predict_rollback if module.check_mode else actor.rollback)(params["service"])
    wanted = intent_of(params)
    return actor.predict(wanted, params["pending_config"]) if module.check_mode else actor.apply(wanted)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **PROJECT_OPTIONS,
            "service": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["live", "rolled_back"], "default": "live"},
            "image": {"type": "str"},
            "strategy": {"type": "str", "choices": ["blue_green", "handover", "recreate"]},
            "slot_addresses": {"type": "dict"},
            "env_file": {"type": "str", "default": ""},
            "secret_files": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "config_files": {"type": "list", "elements": "str", "default": []},
            "migrate": {"type": "bool", "default": False},
            "gates": {"type": "list", "elements": "dict", "default": []},
            "gate_successes": {"type": "int", "default": 3},
            "gate_stable": {"type": "float", "default": 0},
            "soak": {"type": "float", "default": 10},
            "soak_errors": {"type": "float", "default": 0.02},
            "keep": {"type": "int", "default": 3},
            "force": {"type": "bool", "default": False},
            "update": {"type": "bool", "default": True},
            "signature_key": {"type": "path", "default": "", "no_log": False},
            "pending_config": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 120},
            "drain_timeout": {"type": "int", "default": 90},
        },
        required_if=[("state", "live", ["image", "strategy"]), ("strategy", "blue_green", ["slot_addresses"])],
        supports_check_mode=True,
    )
    progress = Progress(module)
    try:
        outcome = roll(module, engine(module, progress))
    except RolloutError as error:
        fail(module, error, progress=progress.lines)
    module.exit_json(**result_of(outcome), progress=progress.lines)


if __name__ == "__main__":
    main()
