# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The playbook, run on this server."""

import contextlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from .given import texts, unsafe_yaml
from .host import NotReadyError, Paths, say, write

# Characters
_SHORTEST = 4  # Shorter secrets would be seen in any word.
_LONGEST = 500
_TAIL = 300


def run_playbook(config: dict[str, Any], collections: Path, secrets: dict[str, Any], paths: Paths) -> int:
    """Run the playbook on this server; return how many of its tasks changed something."""
    inventory = paths.library / "inventory.json"
    local = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
    write(inventory, json.dumps({"billing": {"hosts": {config["hostname"]: local}}}) + "\n")
    shutil.rmtree(paths.secrets / "tmp", ignore_errors=True)  # of a run that was killed
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
        # Arguments of modules, secrets among them: through a pipe, and what needs a file in memory like the secrets
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_LOCAL_TEMP": str(paths.secrets / "tmp"),
        "ANSIBLE_REMOTE_TEMP": str(paths.secrets / "tmp"),
    }
    hidden = _forms(texts(secrets))
    try:
        output, code = _follow(command, environment, paths.library, hidden)
    finally:
        given.unlink(missing_ok=True)
        shutil.rmtree(paths.secrets / "tmp", ignore_errors=True)
    if code != 0:
        raise NotReadyError(f"{config['playbook']} ended with {code}{_masked(_told(output), hidden)}")
    return sum(int(number) for number in re.findall(r"^\S+ +: ok=\d+ +changed=(\d+) ", output, re.MULTILINE))


def _forms(secrets: list[str]) -> list[str]:
    """Return what secrets look like where they are printed: they and their lines, also as texts in JSON, in JSON."""
    lines = {line.strip() for secret in secrets for line in (secret, *secret.splitlines())}
    forms = {line for line in lines if len(line) >= _SHORTEST}
    for _nested in range(2):
        forms |= {json.dumps(form, ensure_ascii=ascii_only)[1:-1] for form in forms for ascii_only in (False, True)}
    return sorted(forms, key=len, reverse=True)


def _masked(text: str, hidden: list[str]) -> str:
    for secret in hidden:
        text = text.replace(secret, "********")
    return text


def _follow(command: list[str], environment: dict[str, str], folder: Path, hidden: list[str]) -> "tuple[str, int]":
    """Run a command, print its lines as they come, and return them all, and its exit code; what is hidden is masked."""
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
            line = _masked(said, hidden)
            lines.append(line)
            if line.strip():
                say(line.rstrip())
    return "".join(lines), process.returncode


def _told(output: str) -> str:
    """Return the task that failed last, but for failures that are ignored, and its message."""
    failures = list(re.finditer(r"^(?:fatal|failed): .*(?!.|\n\.\.\.ignoring)", output, re.MULTILINE))
    errors = re.findall(r"^\[?ERROR\]?[:!]+ (.*)", output, re.MULTILINE)
    if not failures:
        return f": {(errors[-1] if errors else 'see the journal')[:_LONGEST]}"
    task = re.findall(r"^TASK \[(.*)\]", output[: failures[-1].start()], re.MULTILINE)
    message = _message(failures[-1][0]) or (errors[-1] if errors else "see the journal")
    return f" at {task[-1]}: {message[:_LONGEST]}" if task else f": {message[:_LONGEST]}"


def _message(line: str) -> str:
    """Return what a failed task says; where that is nothing in particular, the end of what its command printed, too."""
    result: dict[str, Any] = {}
    for begin in re.finditer(r"=> (?=\{)", line):
        with contextlib.suppress(ValueError):
            result = json.loads(line[begin.end() :])
            break
    message = str(result.get("msg") or "")
    if message and not re.search(r"non-zero return code\.?$|^MODULE FAILURE", message):
        return message
    printed = ("stderr", "module_stderr", "stdout", "module_stdout", "censored")
    more = next((text for name in printed if (text := str(result.get(name) or "").strip())), "")
    return ": ".join(part for part in (message.rstrip("."), more[-_TAIL:]) if part)
