# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The playbook, run on this server."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from .given import texts, unsafe_yaml
from .host import NotReadyError, Paths, say, write

_SHORTEST = 4  # Characters. Shorter secrets would be seen in any word.


def run_playbook(config: dict[str, Any], collections: Path, secrets: dict[str, Any], paths: Paths) -> int:
    """Run the playbook on this server; return how many of its tasks changed something."""
    inventory = paths.library / "inventory.json"
    local = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
    write(inventory, json.dumps({"billing": {"hosts": {config["hostname"]: local}}}) + "\n")
    paths.secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
    given = paths.secrets / "variables.yml"
    write(given, unsafe_yaml(secrets) + "\n", 0o600)
    command = [
        "ansible-playbook",
        "-i",
        str(inventory),
        "-e",
        f"@{paths.variables}",
        "-e",
        f"@{given}",
        config["playbook"],
    ]
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_HOME": str(paths.library / "ansible"),
        "ANSIBLE_INJECT_FACT_VARS": "false",
        "ANSIBLE_NOCOLOR": "1",
    }
    try:
        output, code = _follow(command, environment, paths.library, texts(secrets))
    finally:
        given.unlink(missing_ok=True)
    if code != 0:
        raise NotReadyError(f"{config['playbook']} ended with {code}{_told(output)}")
    return sum(int(number) for number in re.findall(r"^\S+ +: ok=\d+ +changed=(\d+) ", output, re.MULTILINE))


def _follow(command: list[str], environment: dict[str, str], folder: Path, secrets: list[str]) -> "tuple[str, int]":
    """Run a command, print its lines as they come, and return them all, and its exit code; no secret is in them."""
    hidden = sorted((secret for secret in secrets if len(secret) >= _SHORTEST), key=len, reverse=True)
    lines = []
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for said in process.stdout or ():
            line = said
            for secret in hidden:
                line = line.replace(secret, "********")
            lines.append(line)
            if line.strip():
                say(line.rstrip())
    return "".join(lines), process.returncode


def _told(output: str) -> str:
    """Return the task that failed and its message."""
    failed = re.search(r"^(?:fatal|failed): ", output, re.MULTILINE)
    before = output[: failed.start()] if failed else ""
    task = re.findall(r"^TASK \[(.*)\]", before, re.MULTILINE)
    told = re.findall(r'^fatal: .*?"msg": ("(?:[^"\\]|\\.)*")', output, re.MULTILINE)
    errors = re.findall(r"^\[?ERROR\]?[:!]+ (.*)", output, re.MULTILINE)
    message = str(json.loads(told[-1])) if told else errors[-1] if errors else "see the journal"
    return f" at {task[-1]}: {message[:500]}" if task else f": {message[:500]}"
