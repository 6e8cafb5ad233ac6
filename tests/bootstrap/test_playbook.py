# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The playbook: what a failure of it is told as, and where its secrets are not to be found."""

from __future__ import annotations

import json
import os
import signal
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.bootstrap.conftest import Machine

SECRET = "{{ 'hush' }} \"quoted\" \\ hush\nsecond hush \u00e4 line"


def with_secrets(machine: Machine, **variables: Any) -> None:
    """Give the machine a file with secrets."""
    file = machine.root / "secrets.json"
    file.write_text(json.dumps(variables))
    file.chmod(0o600)
    machine.config["secrets"] = {"source": "file", "path": str(file), "required": []}


def reason(machine: Machine, output: str, code: int = 2) -> str:
    """Return what is told of a playbook with this output."""
    (machine.root / "output").write_text(output)
    machine.command("ansible-playbook", f"cat {machine.root}/output; exit {code}")
    return str(machine.run()["reason"])


def failed(result: dict[str, Any], host: str = "billing-api1", word: str = "fatal") -> str:
    """Return a line of Ansible's default output."""
    return f"{word}: [{host}]: FAILED! => {json.dumps(result, ensure_ascii=False)}\n"


# -- failures


def test_playbook_that_fails_is_told_and_the_next_run_is_ready(machine: Machine) -> None:
    machine.command(
        "ansible-playbook",
        """cat <<'END'
TASK [billing.infrastructure.docker : Install the packages] ********
fatal: [billing-api1]: FAILED! => {"changed": false, "msg": "no \\"room\\" left"}
END
exit 2""",
    )
    status = machine.run()
    assert (status["code"], status["state"], status["phase"]) == (1, "failed", "playbook")
    assert 'ended with 2 at billing.infrastructure.docker : Install the packages: no "room" left' in status["reason"]
    assert "failed (playbook): billing.infrastructure.deploy_compose ended" in machine.paths.console.read_text()
    machine.command("ansible-playbook", "true")
    assert machine.run()["state"] == "ready"


def test_last_failure_is_told_with_its_own_task(machine: Machine) -> None:
    output = (
        "TASK [Load the rules] ***\n"
        + failed({"msg": "non-zero return code", "stderr": "of no interest"})
        + "TASK [Take the old rules] ***\nok: [billing-api1]\nTASK [Start the service] ***\n"
        + failed({"changed": False, "msg": "the real reason"})
        + "PLAY RECAP ***\n"
    )
    assert reason(machine, output).endswith("ended with 2 at Start the service: the real reason")


def test_failure_that_is_ignored_is_none(machine: Machine) -> None:
    output = (
        "TASK [Start the service] ***\n"
        + failed({"msg": "the real reason"}, word="failed")
        + "TASK [Clean up] ***\n"
        + failed({"msg": "of no interest"})
        + "...ignoring\n"
    )
    assert reason(machine, output).endswith("at Start the service: the real reason")


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (
            {"msg": "non-zero return code", "stderr": "curl: (22) error: 502\n", "stdout": "x"},
            "non-zero return code: curl: (22) error: 502",
        ),
        ({"msg": "non-zero return code", "stderr": "", "stdout": "no such row"}, "non-zero return code: no such row"),
        ({"msg": "", "stdout": "no such row"}, "no such row"),
        (
            {"msg": "MODULE FAILURE: see", "module_stderr": "No module named x"},
            "MODULE FAILURE: see: No module named x",
        ),
        ({"msg": "no room", "stderr": "of no interest"}, "no room"),
        ({"censored": "the output has been hidden"}, "the output has been hidden"),
        (
            {"msg": "The command exited with a non-zero return code.", "stderr": "error: 502"},
            "The command exited with a non-zero return code: error: 502",
        ),
        ({"msg": "non-zero return code"}, "non-zero return code"),
        ({"msg": ["one", "two"]}, "['one', 'two']"),
        ({}, "see the journal"),
    ],
)
def test_what_says_nothing_in_particular_is_told_with_what_the_command_printed(
    machine: Machine, result: dict[str, Any], told: str
) -> None:
    assert reason(machine, "TASK [Ask] ***\n" + failed(result)).endswith(f"at Ask: {told}")


def test_end_of_what_a_command_printed_is_told(machine: Machine) -> None:
    long = "of no interest\n" * 100 + "the end"
    told = reason(machine, "TASK [Ask] ***\n" + failed({"msg": "non-zero return code", "stderr": long}))
    assert told.endswith("the end")
    assert len(told) < 600


def test_item_with_an_arrow_hides_nothing(machine: Machine) -> None:
    line = 'failed: [billing-api1] (item=a => {b) => {"item": "a => {b", "msg": "no room"}\n'
    assert reason(machine, f"TASK [Ask] ***\n{line}").endswith("at Ask: no room")


# -- secrets


def test_no_secret_is_told(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    with_secrets(machine, docker_registries=[{"password": "hush-hush"}])
    machine.command("ansible-playbook", """echo 'fatal: [x]: FAILED! => {"msg": "hush-hush is no password"}'; exit 2""")
    status = machine.run()
    assert "******** is no password" in status["reason"]
    assert "hush-hush" not in capsys.readouterr().out
    assert machine.paths.status.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("secret", [SECRET, 'pass"word', "back\\slash\\", "line one\nline two", "\u00fcber-hush"])
def test_secret_is_masked_however_it_is_written(
    machine: Machine, capsys: pytest.CaptureFixture[str], secret: str
) -> None:
    with_secrets(machine, api_key=secret)
    nested = json.dumps({"key": secret})
    output = (
        "TASK [Log in] ***\n"
        + failed({"msg": f"{secret} is wrong", "cmd": nested})
        + json.dumps({"msg": secret})
        + f"\n{secret}\n{nested}\n"
    )
    told = reason(machine, output) + capsys.readouterr().out
    assert "******** is wrong" in told
    for line in secret.splitlines():
        for form in (line, json.dumps(line)[1:-1], json.dumps(json.dumps(line)[1:-1])[1:-1]):
            assert form not in told


KILL = """#!/bin/sh
pid=$$
while [ "$pid" != {test} ]; do
    all="$pid $all"
    pid=$(sed -n 's/^PPid:\\t*//p' "/proc/$pid/status")
done
kill -KILL $all
"""
PLAYBOOK = """
- hosts: billing
  gather_facts: false
  tasks:
    - name: A module with a secret in its arguments, and one with a file to carry
      ansible.builtin.copy: {content: "{{ api_key }}", dest: "{{ out }}", mode: "0600"}
      no_log: true
    - name: Kill the run, from its first process down to this one
      ansible.builtin.command: {argv: ["{{ out }}.sh"], stdin: "{{ api_key }}"}
      no_log: true
"""


def test_killed_run_leaves_no_secret_outside_the_folder_in_memory(machine: Machine) -> None:
    """Ansible itself, and all of it killed, as systemd does."""
    ansible = Path(sys.executable).with_name("ansible-playbook")
    if not ansible.exists():
        pytest.skip("ansible-core is not in this environment")
    secret, out = f"hush-{uuid.uuid4()}", machine.root / "out"
    with_secrets(machine, api_key=secret)
    playbook = machine.root / "play.yml"
    playbook.write_text(PLAYBOOK)
    machine.config["playbook"] = str(playbook)
    machine.command("ansible-playbook", f'exec {ansible} -e out={out} "$@"')
    kill = Path(f"{out}.sh")
    kill.write_text(KILL.format(test=os.getpid()))
    kill.chmod(0o755)
    child = os.fork()
    if child == 0:
        machine.run()
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert out.read_text() == secret, "the playbook did not come that far"
    out.unlink()
    (machine.root / "secrets.json").unlink()
    # Ansible's own choice would lie below the home of the user
    folders = (machine.root, Path("~").expanduser() / ".ansible" / "tmp")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    left = [path for path in files if secret.encode() in path.read_bytes()]
    assert [path for path in left if machine.paths.secrets not in path.parents] == []


def test_next_run_removes_what_a_killed_one_left(machine: Machine) -> None:
    left = machine.paths.secrets / "tmp" / "ansible-tmp-1" / "AnsiballZ_copy.py"
    left.parent.mkdir(parents=True)
    left.write_text("hush")
    machine.command(
        "ansible-playbook", f"find {machine.paths.secrets} > {machine.root}/found; env > {machine.root}/env"
    )
    assert machine.run()["state"] == "ready"
    assert "AnsiballZ" not in (machine.root / "found").read_text()
    assert list(machine.paths.secrets.iterdir()) == []
    environment = (machine.root / "env").read_text().splitlines()
    for name in ("ANSIBLE_LOCAL_TEMP", "ANSIBLE_REMOTE_TEMP"):
        assert f"{name}={machine.paths.secrets}/tmp" in environment
    assert "ANSIBLE_PIPELINING=true" in environment
