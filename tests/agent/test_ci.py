# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The workflows of docs/ci, their knock and their wait word for word, from a push to the answer of the server."""

from __future__ import annotations

import os
import subprocess

import pytest
import yaml

from tests.agent.watched import KNOCK, RELEASE, SECRET, TOKEN, Watched
from tests.integration.runs import ROOT
from tests.lab import machine

pytestmark = pytest.mark.fault("workflow")


def scripts(name: str) -> tuple[str, str]:
    """Return the scripts of a workflow that knock and that wait."""
    text = yaml.safe_load((ROOT / "docs" / "ci" / f"{name}.yml").read_text())
    if name == "github":
        steps = {step.get("name"): step.get("run", "") for step in text["jobs"]["release"]["steps"]}
        return steps["Knock"], steps["Wait for the release"]
    knock, wait = text["release"]["script"][-2:]
    return knock, wait


def run(site: Watched, script: str, digest: str) -> tuple[int, str]:
    """Run a script as a runner does; return its exit code and what it said."""
    address = f"http://{site.host.address}"
    known = {"RELEASE_URL": f"{address}{RELEASE}", "RELEASE_TOKEN": TOKEN, "DIGEST": digest}
    known |= {"KNOCK_URL": f"{address}{KNOCK}", "KNOCK_SECRET": SECRET}
    done = subprocess.run(
        ["bash", "-e", "-c", script], env=os.environ | known, capture_output=True, text=True, check=False, timeout=300
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["github", "gitlab"])
def test_a_workflow_knows_what_became_of_its_digest(site: Watched, name: str) -> None:
    machine.install(machine.missing_packages(["curl", "jq"]))
    site.restore()
    site.succeed(site.good, intent={"timeout": 8.0})
    knock, wait = scripts(name)
    for environment, code, words in (({}, 0, "serves"), ({"BILLING_FAULT_NEVER_HEALTHY": "1"}, 1, "refused")):
        digest = site.publish(**environment)
        assert run(site, knock, digest)[0] == 0
        found, said = run(site, wait, digest)
        assert (found, words in said, digest in said) == (code, True, True), said


def test_the_tag_moves_after_the_signature() -> None:
    """A server that wants signatures refuses for good what it finds without one."""
    for name in ("github", "gitlab"):
        text = (ROOT / "docs" / "ci" / f"{name}.yml").read_text()
        moves = "imagetools create" if name == "github" else "crane tag"
        assert 0 < text.index("cosign sign") < text.index(moves)
