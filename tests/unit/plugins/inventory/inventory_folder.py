# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""A folder with a state and a configuration of the plugin, and what ansible-inventory makes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def plain(value: dict[str, Any]) -> Any:
    """ansible-inventory marks untrusted text; take the text."""
    return value["__ansible_unsafe"] if set(value) == {"__ansible_unsafe"} else value


def squeezed(text: str) -> str:
    """Ansible before 2.19 breaks messages into lines, also within words: compare without white space."""
    return "".join(text.split())


@dataclass
class Inventory:
    """A folder with a state and a configuration of the plugin beside it."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def configure(self, **options: Any) -> None:
        config = {"plugin": "billing.infrastructure.terraform_outputs", "state_file": "terraform.tfstate", **options}
        text = json.dumps({name: value for name, value in config.items() if value is not None})
        (self.folder / "terraform_outputs.yml").write_text(text, encoding="utf-8")

    def write_state(self, content: object) -> None:
        (self.folder / "terraform.tfstate").write_text(json.dumps(content), encoding="utf-8")

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name(program)), "-i", "terraform_outputs.yml", *arguments]
        return subprocess.run(command, cwd=self.folder, env=self.env, text=True, capture_output=True, check=False)

    def list(self) -> dict[str, Any]:
        return self.list_with_warnings()[0]

    def list_with_warnings(self) -> tuple[dict[str, Any], str]:
        done = self.run("ansible-inventory", "--list")
        assert done.returncode == 0, done.stderr
        assert "Failed to parse" not in done.stderr
        listed: dict[str, Any] = json.loads(done.stdout, object_hook=plain)
        return listed, squeezed(done.stderr)

    def error(self) -> str:
        done = self.run("ansible-inventory", "--list")
        assert done.returncode != 0
        return squeezed(done.stderr)


def names(listed: dict[str, Any]) -> list[str]:
    return sorted(listed["_meta"]["hostvars"])


def asked(inventory: Inventory, answer: dict[str, Any], name: str = "terraform") -> None:
    """Have a project whose terraform, a stand-in that counts its calls, gives the state `answer`."""
    (inventory.folder / "project").mkdir(exist_ok=True)
    (inventory.folder / "state.json").write_text(json.dumps(answer), encoding="utf-8")
    (inventory.folder / "output.json").write_text(json.dumps(answer["outputs"]), encoding="utf-8")
    script = """#!/bin/sh
case "$1" in
  workspace) echo "* default"; echo "  prod"; exit ;;
  state) answer=../state.json ;;
  output) answer=../output.json ;;
esac
echo "called $1" >> ../calls
exec cat "$answer"
"""
    binary = inventory.folder / name
    binary.write_text(script, encoding="utf-8")
    binary.chmod(0o755)
