#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: keep a secret in a file on the server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: secret_file
short_description: Keep a secret in a file on the server
version_added: 0.1.0
description:
  - Writes a given secret, generates one where none exists, or composes one from other secret files, on the server.
  - A generated or composed value never leaves the server. No value is returned, logged or shown in a diff.
author:
  - billing.infrastructure contributors (@billing-infrastructure)
attributes:
  check_mode:
    description: Predicts whether the file would be written.
    support: full
  diff_mode:
    description: Shows that the content changes, never the content.
    support: full
options:
  path:
    description: The file. Its directory must exist.
    type: path
    required: true
  value:
    description:
      - The secret. Where neither this nor O(template) is given, a random value of 43 URL-safe characters (256 bits) is
        generated once and kept.
      - An empty string counts as not given.
    type: str
    default: ''
  template:
    description: Text with C({name}) for every name in O(sources); a brace of its own is written twice.
    type: str
  sources:
    description: Secret files whose content fills O(template), percent-encoded (RFC 3986) so that it fits a URL.
    type: dict
    default: {}
  owner:
    description: Numeric user id that reads the file.
    type: int
    default: 0
  mode:
    description: Permissions.
    type: str
    default: '0400'
"""

EXAMPLES = r"""
- name: Keep the password of the application role
  billing.infrastructure.secret_file:
    path: /srv/billing/secrets/postgres_app_password
    owner: 999

- name: Compose the URL of the database
  billing.infrastructure.secret_file:
    path: /opt/billing/secrets/api_database_url
    template: "postgresql://billing_app:{password}@10.202.0.10:5432/billing"
    sources:
      password: /srv/billing/secrets/postgres_app_password
    owner: 10001
"""

RETURN = r"""
path:
  description: The file.
  returned: success
  type: str
"""

import os
import secrets
import urllib.parse
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._rollout.store import write_atomic


class SecretError(Exception):
    """A secret that cannot be made; the message says why and what to do."""


def wanted(params: dict[str, Any], current: str | None, check_mode: bool) -> str | None:
    """Return the content the file shall have; None where check mode cannot know it yet.

    Args:
        params: module parameters.
        current: content of the file, None where there is none.
        check_mode: sources may still be missing, because a task before this one would create them.
    """
    if params["template"] is not None:
        values = {}
        for name, path in params["sources"].items():
            source = Path(path)
            if not source.exists():
                if check_mode:
                    return None
                raise SecretError(f"{path}, a source of {params['path']}, does not exist; create that secret first")
            values[name] = urllib.parse.quote(source.read_text().strip(), safe="")
        try:
            return str(params["template"].format_map(values))
        except (KeyError, IndexError, ValueError) as error:
            message = f"the template of {params['path']} does not fit its sources {sorted(values)}: {error!r}"
            raise SecretError(message) from error
    if params["value"]:
        return str(params["value"])
    return current if current else secrets.token_urlsafe(32)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "value": {"type": "str", "default": "", "no_log": True},
            "template": {"type": "str", "no_log": False},
            "sources": {"type": "dict", "default": {}, "no_log": False},
            "owner": {"type": "int", "default": 0},
            "mode": {"type": "str", "default": "0400"},
        },
        supports_check_mode=True,
    )
    path = Path(module.params["path"])
    try:
        owner, mode = module.params["owner"], int(module.params["mode"], 8)
    except ValueError:
        module.fail_json(msg=f"the mode {module.params['mode']!r} of {path} is not an octal number such as '0400'")
    if module.params["value"] and module.params["template"] is not None:
        module.fail_json(msg=f"{path}: give either value or template, not both")
    if not path.parent.is_dir() and not module.check_mode:
        module.fail_json(msg=f"the directory of {path} does not exist; create it first (role project does)")

    status = path.stat() if path.exists() else None
    current = path.read_text() if status else None
    try:
        content = wanted(module.params, current, module.check_mode)
    except SecretError as error:
        module.fail_json(msg=str(error))
    rewrite = content is None or content != current
    repair = status is None or (status.st_uid, status.st_mode & 0o7777) != (owner, mode)
    if not module.check_mode and content is not None:
        try:
            if rewrite:
                write_atomic(path, content.encode(), mode)
            if rewrite or repair:
                os.chown(path, owner, -1)
                path.chmod(mode)
        except OSError as error:
            module.fail_json(msg=f"cannot write {path}: {error.strerror}; the secret that was there is still in place")
    old = "absent" if status is None else "(another secret)" if rewrite else "(the same secret)"
    module.exit_json(
        changed=rewrite or repair,
        path=str(path),
        diff={
            "before": {"content": old},
            "after": {"content": "(a secret)" if rewrite else old, "owner": owner, "mode": module.params["mode"]},
        },
    )


if __name__ == "__main__":
    main()
