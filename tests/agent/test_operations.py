# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Every command of docs/operations.md does what it says, as written there, in the order of the page."""

from __future__ import annotations

import re

import pytest

from tests.agent.watched import Watched
from tests.integration.runs import ROOT

pytestmark = pytest.mark.fault("operations")

_PAGE = ROOT / "docs" / "operations.md"
_PLAYBOOK = re.compile(r"ansible-playbook -i inventory billing\.infrastructure\.(\w+)(.*)")


def commands() -> list[tuple[str, str]]:
    """Return (prompt, command) of every line in the page's consoles."""
    blocks = re.findall(r"^ *```console\n(.*?)^ *```", _PAGE.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    found = [(line[0], line[2:]) for line in lines]
    assert all(prompt in "#$" for prompt, _command in found), found
    return found


def test_every_command_of_the_operations_page_works(site: Watched) -> None:
    site.restore()
    site.start_timer()
    digest = site.publish()
    told = {}
    for prompt, command in commands():
        if prompt == "$":
            match = _PLAYBOOK.fullmatch(command)
            assert match, command
            site.playbooks.run(f"{match[1]}.yml", *match[2].split()).ok()
            continue
        done = site.remote.run("env", f"DIGEST={digest}", "sh", "-c", command, check=False, timeout=300)
        assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
        told[command] = done.stdout + done.stderr
    assert f"{digest} is live" in told['billing-rollout wait --digest "$DIGEST" --timeout 300']
    assert "rollback" in told["billing-rollout history api"]
    assert "nginx: " in told["billing-rollout apply nginx"]
    assert digest in told["billing-rollout history --json"]
    site.stop_timer()


def test_the_page_tells_every_command_of_the_tool(site: Watched) -> None:
    text = _PAGE.read_text()
    said = site.command("--help")
    names = re.findall(r"^    (\w+) ", said, re.MULTILINE)
    assert {"status", "check", "apply", "rollback", "history", "hold", "resume", "quarantine", "wait", "doctor"} <= set(
        names
    )
    assert [name for name in names if name != "receive" and f"billing-rollout {name}" not in text] == []
