# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command: what it prints, and what its exit code says."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._rollout import cli, commands, publish
from plugins.module_utils._rollout.clock import instant
from plugins.module_utils._rollout.engine import Engine
from plugins.module_utils._rollout.release import RolloutError

from .model import BAD, A, B, World, api, engine, record

ROOT = Path(__file__).parents[5]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Return the command, on a world where A is deployed by its tag."""
    world.tags["stable"] = A
    engine(world, actor="ansible").apply(api("r.example/x:stable"))
    settings = tmp_path / "billing-rollout.json"
    settings.write_text(
        json.dumps(
            {
                "root": str(world.root),
                "project": "billing",
                "services": {"api": {}},
                "interval": 30,
                "breaker": 3,
                "metrics": "",
                "targets": [],
            }
        )
    )

    def host_engine(_root: Path, _project: str, progress: Callable[[str], None], actor: str) -> Engine:
        here = engine(world, actor=actor)
        here.progress = progress
        return here

    monkeypatch.setattr(cli, "host_engine", host_engine)
    monkeypatch.setattr(publish, "RUN", tmp_path)
    (tmp_path / "billing").mkdir()
    monkeypatch.setattr(commands, "_POLL", 0.01)
    monkeypatch.setenv("SUDO_USER", "ada")

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main(["--config", str(settings), *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_status_is_a_table_for_people_and_json_for_programs(call: Call) -> None:
    code, out, _err = call("status")
    assert code == 0
    head, row = out.splitlines()[:2]
    assert head.startswith("SERVICE  LIVE  ")
    assert row.split()[0] == "api"
    assert {"blue", "healthy", "follow", "live"} <= set(row.split())
    found = json.loads(call("status", "--json")[1])
    assert (found["services"]["api"]["live"]["image"], found["quarantine"]) == (A, [])


def test_check_rolls_out_what_the_tag_names_and_says_who(call: Call, world: World, tmp_path: Path) -> None:
    world.tags["stable"] = B
    assert call("check")[0] == 0
    assert call("check", "--scheduled")[0] == 0
    answer = json.loads((tmp_path / "billing" / "release.json").read_text())
    assert answer["services"]["api"]["digest"] == B.rpartition("@")[2]
    lines = call("history")[1].splitlines()
    assert lines[0].split()[-4:] == ["BY", "SECONDS", "OF", "WHY"]
    assert [re.split(" {2,}", line)[7] for line in lines[1:]] == ["ansible", "ada"]
    assert [json.loads(line)["outcome"] for line in call("history", "--json")[1].splitlines()] == ["live", "live"]


def test_apply_a_digest_that_fails_is_exit_code_3_and_then_refused(call: Call, world: World) -> None:
    digest = BAD.rpartition("@")[2]
    code, _out, err = call("apply", "--digest", digest)
    assert (code, "billing-rollout: unhealthy: " in err, "    last words" in err) == (3, True, True)
    code, _out, err = call("apply", "--digest", digest)
    assert (code, "billing-rollout: quarantined: " in err) == (3, True)
    assert call("quarantine")[1].splitlines()[1].split()[2] == "unhealthy"
    (key,) = engine(world).store.quarantine()
    assert call("quarantine", "clear", key)[:2] == (0, "1 released; the next check may roll it out again\n")
    assert call("quarantine")[1] == "none\n"


def test_apply_and_roll_back(call: Call, world: World) -> None:
    code, out, _err = call("apply", "--digest", B.rpartition("@")[2])
    assert (code, re.match(r"api: \w+-\w+ -> b{12}-\w+, slot green \(\d+\.\d s\)\n", out) is not None) == (0, True)
    assert "is live already" in call("apply", "--digest", B.rpartition("@")[2])[1]
    assert call("rollback")[0] == 0
    live = record(world).live_release
    assert live is not None
    assert live.image == A


def test_hold_and_resume(call: Call, world: World) -> None:
    assert "billing-rollout resume api" in call("hold", "--reason", "audit")[1]
    world.tags["stable"] = B
    call("check")
    status = call("status")[1]
    assert "api: held by ada since " in status
    assert ": audit" in status
    call("resume")
    call("check")
    live = record(world).live_release
    assert live is not None
    assert live.image == B


@pytest.mark.parametrize(
    ("wanted", "code", "words"),
    [(A, 0, "is live as aaaaaaaaaaaa-"), (BAD, 3, "was refused on "), (B, 4, "is not live after 0 s")],
)
def test_wait_tells_by_its_exit_code(call: Call, wanted: str, code: int, words: str) -> None:
    call("apply", "--digest", BAD.rpartition("@")[2])
    found, out, _err = call("wait", "--digest", wanted.rpartition("@")[2], "--timeout", "0.05")
    assert (found, words in out) == (code, True)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("rollback", "db"), 1, "service_unknown: nothing is recorded of a service db"),
        (("hold", "db"), 1, "service_unknown"),
        (("rollback",), 1, "nothing_to_roll_back_to"),
        (("quarantine", "clear", "api/x"), 1, "api/x is not in quarantine; nothing is"),
    ],
)
def test_wrong_use_says_what_is_wrong(call: Call, arguments: tuple[str, ...], code: int, words: str) -> None:
    found, out, err = call(*arguments)
    assert (found, words in err, out) == (code, True, "")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "config_invalid"),
        ("{}", "config_invalid"),
        (
            '{"root":"/x","project":"b","services":{"api":{"mode":"hope"}},"interval":1,"breaker":1,"metrics":"","targets":[]}',
            "mode",
        ),
    ],
)
def test_a_broken_configuration_is_named(
    tmp_path: Path, content: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    assert cli.main(["--config", str(path), "status"]) == 1
    assert words in capsys.readouterr().err


def test_a_failure_to_tell_does_not_fail_the_rollout(call: Call, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_what: Any) -> None:
        raise RolloutError("io_failed", "no space")

    monkeypatch.setattr(publish, "status", fail)
    world.tags["stable"] = B
    code, _out, err = call("check")
    assert (code, "cannot tell what runs: io_failed: no space" in err) == (0, True)


@pytest.mark.parametrize("command", ["apply", "wait"])
def test_what_is_no_digest_is_wrong_use(call: Call, capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as ended:
        call(command, "--digest", "sha256:12")
    assert (ended.value.code, "is not sha256: and 64 hex digits" in capsys.readouterr().err) == (2, True)


def test_what_may_pass_is_waited_for(call: Call, world: World) -> None:
    world.tags["stable"] = B
    with engine(world).store.locked(0):
        call("check")
    assert call("wait", "--digest", B.rpartition("@")[2], "--timeout", "0.05")[0] == 4


def test_an_older_image_is_refused_however_long_ago_that_was_found(call: Call, world: World) -> None:
    world.built = {A: "2026-11-02T10:00:00Z", B: "2026-11-01T10:00:00Z"}
    world.tags["stable"] = B
    call("check")
    code, out, _err = call("wait", "--digest", B.rpartition("@")[2], "--timeout", "0.05")
    assert (code, "older_image" in out) == (3, True)


def test_a_refused_image_is_exit_code_3_though_nothing_was_begun(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def verify(*_what: Any) -> None:
        raise RolloutError("signature_missing", "nobody signed it")

    monkeypatch.setattr(Engine, "_verified", verify)
    assert call("apply", "--digest", B.rpartition("@")[2])[0] == 3


def test_the_status_is_told_without_docker(call: Call, world: World) -> None:
    world.away_until = world.time + 60
    code, out, _err = call("status")
    assert (code, "NOT HEALTHY" in out, "Docker does not say what runs: Cannot connect" in out) == (0, True, True)


def test_when_the_agent_looks_next(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    soon = int((time.time() + 25) * 1e6)
    monkeypatch.setattr(commands, "output", lambda *_command: json.dumps([{"next": soon, "unit": "x.timer"}]))
    assert re.search(r"  in 2[345] s$", call("status")[1].splitlines()[1])
    found = json.loads(call("status", "--json")[1])["services"]["api"]["next_check"]
    assert instant(found) == pytest.approx(soon / 1e6, abs=0.01)
    monkeypatch.setattr(commands, "output", lambda *_command: "")
    assert json.loads(call("status", "--json")[1])["services"]["api"]["next_check"] is None


def test_a_mark_that_cannot_be_taken_away_stops_nothing(call: Call, world: World, tmp_path: Path) -> None:
    (tmp_path / "billing-knock-mark" / "look").mkdir(parents=True)
    world.tags["stable"] = B
    code, _out, err = call("check", "--scheduled")
    assert (code, "the mark of a knock cannot be taken away" in err) == (0, True)
    live = record(world).live_release
    assert live is not None
    assert live.image == B


def test_nobody_who_listens_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", buffering=1) as closed:
        monkeypatch.setattr("sys.stderr", closed)
        cli.Progress()("a line")
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            closed.close()


def test_shells_complete_every_command_and_option() -> None:
    script = (ROOT / "roles" / "rollout_agent" / "files" / "completion.bash").read_text()
    (actions,) = (action for action in cli.parser()._actions if action.dest == "command")
    assert actions.choices
    for name, command in dict(actions.choices).items():
        options = {text for action in command._actions for text in action.option_strings if text.startswith("--")}
        words = re.search(rf"\*:(?:[\w| *:]*\b)?{name}\b[^)]*\) words=\"([^\"]*)\"", script)
        offered = set(words[1].split()) if words else {"--help"}
        assert name == "receive" or name in script
        assert name == "receive" or {word for word in offered if word.startswith("--")} == options, name
