# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from plugins.module_utils._rollout.release import RolloutError
from plugins.module_utils._rollout.store import Store, write_atomic


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "compose.d").mkdir()
    return Store(tmp_path, tmp_path / "run")


def test_variables_are_read_back_and_private(store: Store) -> None:
    assert store.read() == {}
    store.write({"B": "2=2", "A": "1"})
    assert store.read() == {"A": "1", "B": "2=2"}
    assert store.environment_file.stat().st_mode & 0o777 == 0o600


def test_a_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old", 0o600)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new", 0o600)
    assert path.read_bytes() == b"old"


def test_fragments_are_the_base_file_and_one_per_role(store: Store) -> None:
    for name in ("postgres", "api"):
        (store.root / "compose.d" / f"{name}.yaml").touch()
    assert store.fragments() == ["compose.yaml", "compose.d/api.yaml", "compose.d/postgres.yaml"]


def test_the_key_is_made_once(store: Store) -> None:
    assert store.key() == b""
    store.prepare()
    first = store.key()
    store.prepare()
    assert len(first) == 32
    assert store.key() == first


def test_history_is_one_json_line_per_rollout(store: Store) -> None:
    store.record({"service": "api"})
    store.record({"service": "nginx"})
    lines = (store.root / "state" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["service"] for line in lines] == ["api", "nginx"]


def test_a_second_rollout_waits_and_then_says_who_is_in_the_way(store: Store) -> None:
    with store.locked(0), pytest.raises(RolloutError) as raised, store.locked(0.3):
        pass
    assert raised.value.code == "busy"
    assert str(store.root / "run" / "lock") in raised.value.message


def test_the_lock_of_a_killed_holder_is_free(store: Store, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    script = (
        "import fcntl, sys, time\n"
        "handle = open(sys.argv[1], 'a+')\n"
        "fcntl.flock(handle, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "run" / "lock")], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(RolloutError), store.locked(0):
        pass
    holder.kill()
    holder.wait()
    with store.locked(5):
        pass
