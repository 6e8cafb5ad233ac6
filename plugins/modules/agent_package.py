#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: install the rollout engine as a command."""

from __future__ import annotations

DOCUMENTATION = r"""
module: agent_package
short_description: Install the rollout engine as the command billing-rollout
version_added: 0.2.0
description:
  - Writes the engine that M(billing.infrastructure.image_rollout) uses, the very same files, as one executable file
    (a Python zip application) to the host. It needs Python 3.9 or later there and nothing else.
  - The file is replaced in one step, so a run that goes on keeps the old one. No service is restarted.
author:
  - billing.infrastructure contributors (@billing-infrastructure)
attributes:
  check_mode:
    description: Tells whether the file would be written or removed.
    support: full
  diff_mode:
    description: Lists the parts of the engine that differ.
    support: full
options:
  path:
    description: The command.
    type: path
    default: /usr/local/bin/billing-rollout
  python:
    description: Interpreter that runs it.
    type: path
    default: /usr/bin/python3
  state:
    description: Whether it is there.
    type: str
    choices: [present, absent]
    default: present
requirements:
  - Python 3.9 or newer on the server
"""

EXAMPLES = r"""
- name: Install the command
  billing.infrastructure.agent_package:
"""

RETURN = r"""
parts:
  description: Names of the parts that were, or would be, written or removed.
  returned: success
  type: list
  elements: str
  sample: [planner.py]
"""

import importlib.util
import io
import marshal
import pkgutil
import zipfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import _rollout
from ..module_utils._rollout import cli
from ..module_utils._rollout.store import write_atomic

_NAME = "billing_rollout"
# To import the command also makes Ansible send every part along.
_MAIN = f"from {_NAME}.{cli.__name__.rpartition('.')[2]} import main\n\nraise SystemExit(main())\n".encode()
_MAGIC = f"{_NAME}/MAGIC"  # Which Python the compiled parts are for.
_UNCHECKED = (1).to_bytes(4, "little") + bytes(8)  # PEP 552: a hash-based file whose source is not looked at.


def sources() -> dict[str, bytes]:
    """Return the parts of the engine, path in the archive -> source, from wherever this module was loaded."""
    parts = {"__main__.py": _MAIN, f"{_NAME}/__init__.py": _source("__init__")}
    for part in pkgutil.iter_modules(_rollout.__path__):
        parts[f"{_NAME}/{part.name}.py"] = _source(part.name)
    return parts


def _source(name: str) -> bytes:
    content = pkgutil.get_data(_rollout.__name__, f"{name}.py")
    if content is None:
        raise FileNotFoundError(f"{_rollout.__name__}.{name} has no source here")
    return content


def pack(parts: dict[str, bytes], python: str) -> bytes:
    """Return the executable archive. Its parts are compiled here, not anew at every check."""
    archive = io.BytesIO()
    archive.write(f"#!{python} -I\n".encode())
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as packed:
        for path, source in sorted(parts.items()):
            packed.writestr(zipfile.ZipInfo(path), source)
            code = marshal.dumps(compile(source, path, "exec", dont_inherit=True))
            packed.writestr(zipfile.ZipInfo(f"{path}c"), importlib.util.MAGIC_NUMBER + _UNCHECKED + code)
        packed.writestr(zipfile.ZipInfo(_MAGIC), importlib.util.MAGIC_NUMBER)
    return archive.getvalue()


def differing(path: Path, parts: dict[str, bytes], python: str) -> list[str]:
    """Return the names of the parts that an installed archive lacks or has otherwise; all where it is none."""
    wanted = {**parts, _MAGIC: importlib.util.MAGIC_NUMBER}
    try:
        content = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            names = {name for name in packed.namelist() if not name.endswith(".pyc")}
            found = {name: packed.read(name) for name in names}
    except (FileNotFoundError, zipfile.BadZipFile, OSError):
        return sorted(wanted)
    if not content.startswith(f"#!{python} -I\n".encode()) or path.stat().st_mode & 0o777 != 0o755:
        return sorted(wanted)
    return sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/usr/local/bin/billing-rollout"},
            "python": {"type": "path", "default": "/usr/bin/python3"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    path, python = Path(module.params["path"]), module.params["python"]
    if module.params["state"] == "absent":
        changed = [path.name] if path.exists() else []
        if changed and not module.check_mode:
            path.unlink()
    else:
        parts = sources()
        changed = differing(path, parts, python)
        if changed and not module.check_mode:
            write_atomic(path, pack(parts, python), 0o755)
    shown = "".join(f"{name}\n" for name in changed)
    diff = {"before_header": str(path), "after_header": str(path), "before": "", "after": shown}
    module.exit_json(changed=bool(changed), parts=changed, diff=diff)


if __name__ == "__main__":
    main()
