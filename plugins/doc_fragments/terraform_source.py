# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

from __future__ import annotations


class ModuleDocFragment:
    """Where the state of a Terraform project comes from."""

    DOCUMENTATION = r"""
options:
  project_path:
    description:
      - Directory of the Terraform root module. Relative paths start from the directory of the configuration file.
      - Its backend and workspace are found as Terraform does, in E(TF_DATA_DIR) or C(.terraform).
      - Exactly one of O(project_path) and O(state_file) is required.
    type: str
  state_file:
    description:
      - State file to read directly. Relative paths start from the directory of the configuration file.
      - Exactly one of O(project_path) and O(state_file) is required.
    type: str
  source:
    description:
      - Where the state of O(project_path) comes from.
      - V(auto) reads the state file of a local backend, and asks O(binary) where there is none, where the backend is a
        remote one and where OpenTofu encrypted the file.
      - V(state) reads the file and starts no process. V(command) asks O(binary) always.
    type: str
    default: auto
    choices:
      - auto
      - state
      - command
  workspace:
    description:
      - Workspace of O(project_path). By default E(TF_WORKSPACE), else the one that is selected, else C(default).
      - One that does not exist is an error, it is not made.
    type: str
  on_lock:
    description:
      - What to do where an apply holds the lock of the local state file. V(warn) and V(ignore) read what is there.
      - Remote backends hand out the state before the apply, their locks are not looked at.
    type: str
    default: error
    choices:
      - error
      - warn
      - ignore
  lock_timeout:
    description: Seconds to wait for the lock before O(on_lock) decides.
    type: float
    default: 0
  binary:
    description: Program to ask, a name on E(PATH) or a path. By default C(terraform), else C(tofu).
    type: str
    env:
      - name: BILLING_TERRAFORM_BINARY
  timeout:
    description: Seconds after which asking O(binary) is given up.
    type: float
    default: 60
"""
