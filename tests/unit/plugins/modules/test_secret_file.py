# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets on the server."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from plugins.modules import secret_file

SECRET = "known-s3cret/with:reserved@characters"


class Run:
    """Runs the module in this process and keeps what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, check: bool = False, **arguments: Any) -> dict[str, Any]:
        arguments = {"owner": os.getuid(), **arguments, "_ansible_check_mode": check}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            secret_file.main()
        printed = self.capsys.readouterr()
        assert SECRET not in printed.out + printed.err
        result: dict[str, Any] = json.loads(printed.out)
        return result


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(capsys)


def test_a_given_value_is_written_once_and_never_shown(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    assert run(path=str(path), value=SECRET)["changed"] is True
    assert path.read_text() == SECRET
    assert path.stat().st_mode & 0o777 == 0o400
    assert run(path=str(path), value=SECRET)["changed"] is False


def test_a_generated_value_is_long_and_kept(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    assert run(path=str(path))["changed"] is True
    first = path.read_text()
    assert len(first) == 43
    again = run(path=str(path))
    assert (again["changed"], path.read_text()) == (False, first)
    assert first not in json.dumps(again)


def test_a_template_percent_encodes_its_sources(run: Run, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(SECRET + "\n")
    url = tmp_path / "url"
    result = run(path=str(url), template="postgresql://app:{p}@db/x", sources={"p": str(tmp_path / "password")})
    assert result["changed"] is True
    assert url.read_text() == "postgresql://app:known-s3cret%2Fwith%3Areserved%40characters@db/x"


def test_a_missing_source_is_predicted_but_not_guessed(run: Run, tmp_path: Path) -> None:
    wanted: dict[str, Any] = {
        "path": str(tmp_path / "url"),
        "template": "{p}",
        "sources": {"p": str(tmp_path / "absent")},
    }
    assert run(check=True, **wanted)["changed"] is True
    failed = run(**wanted)
    assert failed["failed"] is True
    assert "create that secret first" in failed["msg"]
    assert not (tmp_path / "url").exists()


def test_check_mode_writes_nothing_even_without_the_directory(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "absent" / "secret"
    assert run(check=True, path=str(path))["changed"] is True
    assert not path.parent.exists()
    assert "create it first" in run(path=str(path))["msg"]


def test_a_wrong_mode_is_repaired(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    run(path=str(path), value=SECRET)
    path.chmod(0o644)
    assert run(path=str(path), value=SECRET)["changed"] is True
    assert path.stat().st_mode & 0o777 == 0o400


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"value": SECRET, "template": "x"}, "not both"),
        ({"template": "{unknown}"}, "does not fit its sources"),
        ({"value": SECRET, "mode": "rw"}, "mode"),
    ],
)
def test_contradictions_are_named(run: Run, tmp_path: Path, arguments: dict[str, Any], words: str) -> None:
    failed = run(path=str(tmp_path / "secret"), **arguments)
    assert failed["failed"] is True
    assert words in failed["msg"]
