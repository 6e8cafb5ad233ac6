# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from plugins.module_utils._rollout import store as files
from plugins.module_utils._rollout.intent import Intent
from plugins.module_utils._rollout.release import Release, RolloutError
from plugins.module_utils._rollout.state import SWITCH, Record, Rollout
from plugins.module_utils._rollout.store import Store, write_atomic


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "compose.d").mkdir()
    return Store(tmp_path, tmp_path / "run")


INTENT = Intent("api", "x", "blue_green", {"blue": ["a:1"], "green": ["b:1"]}, env_file="api.env")
RELEASE = Release("r.example/x@sha256:" + "a" * 64, "c" * 64, {"blue": ["a:1"], "green": ["b:1"]})


def test_a_record_is_read_back_whole(store: Store) -> None:
    store.prepare()
    rollout = Rollout("1", "rollout", "green", SWITCH, "now", "x:1", before=RELEASE, failure={"code": "x"})
    record = Record(INTENT, "blue", {"blue": RELEASE}, (RELEASE,), ("sha256:x",), rollout)
    assert store.record("api") is None
    store.save(record)
    assert store.record("api") == record
    assert [one.intent.service for one in store.records()] == ["api"]
    assert (store.root / "state" / "api.json").stat().st_mode & 0o777 == 0o600


def test_the_projection_names_the_files_of_every_slot_in_use(store: Store) -> None:
    store.prepare()
    store.save(Record(INTENT, "blue", {"blue": RELEASE}))
    assert not store.projected("billing")
    store.project("billing")
    assert store.projected("billing")
    folder = f"releases/api/{RELEASE.id}"
    text = (store.root / "release.env").read_text()
    assert f"API_BLUE_RELEASE={folder}\n" in text
    assert store.compose_files() == ["compose.yaml", f"{folder}/blue.yaml"]
    assert (store.root / "release.env").stat().st_mode & 0o777 == 0o600


def test_a_release_is_kept_whole_or_counts_as_incomplete(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("compose.d/api.blue.yaml", "compose.d/api.green.yaml", "api.env"):
        (store.root / name).write_text(name)
    contents = store.contents(INTENT)
    with monkeypatch.context() as patched:
        patched.setattr("json.dumps", lambda *_a, **_k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.keep(INTENT, RELEASE, contents)
    assert store.kept("api") == {RELEASE.id: None}
    store.keep(INTENT, RELEASE, contents)
    kept = store.kept("api")[RELEASE.id]
    assert kept is not None
    assert (kept, kept.addresses) == (RELEASE, RELEASE.addresses)
    assert store.kept_file("api", RELEASE.id, "blue.yaml") == b"compose.d/api.blue.yaml"
    store.forget("api", RELEASE.id)
    assert store.kept("api") == {}


def test_a_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old", 0o600)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new", 0o600)
    assert path.read_bytes() == b"old"


def test_the_key_is_made_once(store: Store) -> None:
    assert store.key() == b""
    store.prepare()
    first = store.key()
    store.prepare()
    assert len(first) == 32
    assert store.key() == first


def test_history_is_one_json_line_per_rollout(store: Store) -> None:
    store.prepare()
    store.log({"id": "1", "service": "api"})
    path = store.root / "state" / "history.jsonl"
    path.write_bytes(path.read_bytes() + b'{"id": "cut of')
    store.log({"id": "2", "service": "nginx"})
    store.log({"id": "2", "service": "nginx"})
    assert [entry["service"] for entry in store.history(9)] == ["api", "nginx"]


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


def test_a_history_is_cut_to_its_last_entries(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.prepare()
    monkeypatch.setattr(files, "_HISTORY_BYTES", 4000)
    monkeypatch.setattr(files, "_HISTORY_ENTRIES", 5)
    for number in range(60):
        store.log({"id": str(number), "filler": "x" * 100})
    size = (tmp_path / "state/history.jsonl").stat().st_size
    assert size < 5000
    ids = [entry["id"] for entry in store.history(99)]
    assert ids == [str(number) for number in range(60 - len(ids), 60)]
    assert len(ids) >= 5


def test_a_quarantine_keeps_its_newest_entries(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.prepare()
    monkeypatch.setattr(files, "_QUARANTINE_ENTRIES", 2)
    store.set_quarantine({name: {"at": at} for name, at in (("api/a", "3"), ("api/b", "1"), ("api/c", "2"))})
    assert sorted(store.quarantine()) == ["api/a", "api/c"]
