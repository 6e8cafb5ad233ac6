# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every receiver is told once of everything, however often the agent runs, and one that is away holds nothing up."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._rollout.clock import Clock
from plugins.module_utils._rollout.notify import ATTEMPTS, HISTORY, Outbox, Target, post, render
from plugins.module_utils._rollout.release import RolloutError
from plugins.module_utils._rollout.store import alone

from .http_registry import Answer, Asked, Registry, Rule, running
from .model import Killed

NOW, RUNS = 1795608000.0, 30.0  # Seconds since 1970, and between two runs of the agent.
PATH, TOKEN = "/services/s3cret-path", "s3cret-token"


def entry(number: int, outcome: str = "live", **changes: Any) -> dict[str, Any]:
    values = {
        "id": f"id-{number}",
        "at": f"2026-11-25T12:{number // 60:02}:{number % 60:02}.000Z",
        "service": "api",
        "kind": "rollout",
        "before": {"id": "aaaaaaaaaaaa-11111111", "digest": "sha256:aa"},
        "after": {"id": "bbbbbbbbbbbb-11111111", "digest": "sha256:bb"},
        "outcome": outcome,
        "actor": "agent",
        "seconds": {"gate": 12.0},
    }
    return {**values, **changes}


@pytest.fixture
def receiver() -> Iterator[Registry]:
    """A server on this host that answers as a test wants, and does not mind when it is told to break off."""
    with running() as server:
        server.server.handle_error = lambda *_request: None  # type: ignore[method-assign]
        yield server


def target(receiver: Registry, name: str = "ops", kind: str = "json") -> Target:
    return Target(name, kind, receiver.url + PATH, TOKEN)


def answers(status: int, **headers: str) -> Rule:
    return lambda _asked: (status, headers, b"")


def breaks_off(_asked: Asked) -> Answer:
    raise ConnectionAbortedError


class Agent:
    """Runs that know nothing of each other but the file, and a network that does what a test says."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.path = folder / "agent" / "outbox.json"
        self.targets = [Target(name, "json", f"https://{name}.example{PATH}", TOKEN) for name in names or ("ops",)]
        self.now = NOW
        self.monotonic = 0.0
        self.network: Callable[[str], str] = lambda _name: ""
        self.sent: list[tuple[float, str, str]] = []

    def run(self, *history: Mapping[str, Any]) -> list[str]:
        outbox = Outbox(self.path, self.targets, self.send, Clock(monotonic=lambda: self.monotonic))
        return outbox.deliver(history, self.now, "billing-api1")

    def runs(self, count: int, *history: Mapping[str, Any]) -> list[str]:
        lines = []
        for _run in range(count):
            lines += self.run(*history)
            self.now += RUNS
        return lines

    def send(self, target: Target, headers: Mapping[str, str], body: bytes, seconds: float) -> str:
        assert json.loads(body)["id"] == headers["Idempotency-Key"]
        assert seconds == 5.0
        self.sent.append((self.now, target.name, headers["Idempotency-Key"]))
        return self.network(target.name)

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(name, key) for _now, name, key in self.sent]


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path)


def test_every_entry_is_told_once_however_often_the_agent_runs(tmp_path: Path, receiver: Registry) -> None:
    history = [entry(0)]
    targets = [target(receiver), target(receiver, "phone")]
    for number in range(1, 6):
        for _run in range(3):
            assert Outbox(tmp_path / "outbox.json", targets).deliver(history, NOW, "h") == []
        history.append(entry(number))
    told = [json.loads(asked.body)["id"] for asked in receiver.asked]
    assert told == [f"id-{number}" for number in range(1, 5) for _target in targets]
    assert (tmp_path / "outbox.json").stat().st_mode & 0o777 == 0o600


def test_a_receiver_is_told_what_happens_after_its_first_run(agent: Agent) -> None:
    history = [entry(number) for number in range(300)]
    agent.runs(3, *history)
    agent.runs(3, *history, entry(300))
    agent.targets.append(Target("chat", "json", "https://chat.example/"))
    agent.runs(3, *history, entry(300), entry(301))
    history += [entry(300), entry(301), entry(302)]
    agent.run(*history)
    before = agent.path.stat().st_ino
    agent.runs(3, *history)
    assert agent.path.stat().st_ino == before  # Where nothing happens, nothing is written.
    assert agent.told == [("ops", "id-300"), ("ops", "id-301"), ("ops", "id-302"), ("chat", "id-302")]


def test_only_wanted_outcomes_are_told_and_a_wider_wish_repeats_nothing(agent: Agent) -> None:
    agent.targets = [Target("ops", "json", "https://ops.example/", outcomes=("rejected", "breaker_open"))]
    history = [entry(1), entry(2, "rejected"), entry(3), entry(4, "breaker_open", kind="agent"), entry(5, "healed")]
    agent.run()
    agent.run(*history)
    assert agent.told == [("ops", "id-2"), ("ops", "id-4")]
    agent.targets = [Target("ops", "json", "https://ops.example/")]
    agent.run(*history, entry(6))
    assert agent.told[2:] == [("ops", "id-6")]


def test_a_history_that_was_lost_or_restored_repeats_nothing(agent: Agent) -> None:
    old = [entry(number) for number in range(10)]
    agent.run(*old)
    agent.run(*old, entry(10))
    agent.run()
    agent.run(*old[:5])
    agent.run(entry(11))
    assert agent.told == [("ops", "id-10"), ("ops", "id-11")]


@pytest.mark.parametrize("content", ["", "{half", "[]", "1", '{"ops": 1}', '{"ops": {"seen": "id-1"}}'])
def test_a_damaged_file_floods_nobody(agent: Agent, content: str) -> None:
    agent.run(entry(1))
    agent.path.write_text(content)
    agent.run(entry(1), entry(2))
    agent.run(entry(1), entry(2), entry(3))
    assert agent.told == [("ops", "id-3")]


def test_two_runs_at_once_do_not_both_tell(agent: Agent) -> None:
    agent.run()
    with alone(agent.path.with_suffix(".lock")):
        assert (agent.run(entry(1)), agent.sent) == ([], [])
    agent.run(entry(1))
    assert agent.told == [("ops", "id-1")]


def test_attempts_are_bounded_and_further_and_further_apart(agent: Agent) -> None:
    agent.run()
    agent.network = lambda _name: "HTTP 503"
    lines = agent.runs(1000, entry(1))
    assert [at - NOW for at, _name, _key in agent.sent] == [0, 30, 150, 630, 2550, 6150]
    assert len(lines) == len(agent.sent) == ATTEMPTS
    assert [line for line in lines if "given up" in line] == lines[-1:]
    assert lines[-1].startswith("cannot tell ops of id-1 (api live): HTTP 503; given up")
    agent.network = lambda _name: ""
    agent.runs(3, entry(1), entry(2))
    assert agent.told[ATTEMPTS:] == [("ops", "id-2")]


def test_a_receiver_that_comes_back_gets_what_it_missed_in_order(agent: Agent) -> None:
    history = [entry(number) for number in range(1, 5)]
    agent.run()
    agent.network = lambda _name: "Connection refused"
    agent.now = NOW + 1e9  # A clock that was wrong delays nothing for years.
    assert len(agent.run(*history)) == 1  # Nobody asks a receiver four times that is away.
    agent.network = lambda _name: ""
    agent.now = NOW
    agent.runs(5, *history)
    assert agent.told[1:] == [("ops", f"id-{number}") for number in range(1, 5)]


def test_receivers_that_hang_cost_a_bounded_time_and_the_others_are_told(tmp_path: Path) -> None:
    agent = Agent(tmp_path, "dead1", "dead2", "well", "dead3", "dead4")

    def network(name: str) -> str:
        agent.monotonic += 0.125 if name == "well" else 5.0
        return "" if name == "well" else "no answer in time"

    agent.network = network
    agent.run()
    for number in range(1, 4):
        began = agent.monotonic
        agent.run(*(entry(one) for one in range(1, number + 1)))
        assert agent.monotonic - began <= 15.0
        agent.now += 1
    assert [key for name, key in agent.told if name == "well"] == ["id-1", "id-2", "id-3"]
    assert {name for name, _key in agent.told} == {"dead1", "dead2", "well", "dead3", "dead4"}


def test_the_file_stays_small_while_a_receiver_is_away(agent: Agent) -> None:
    agent.run()
    agent.network = lambda _name: "HTTP 500"
    history = [entry(number) for number in range(5 * HISTORY)]
    for end in range(0, len(history), 100):
        agent.run(*history[: end + 100])
    assert agent.path.stat().st_size < 100 * HISTORY


def test_a_kill_in_the_middle_repeats_at_the_most_one_with_the_same_key(agent: Agent) -> None:
    history = [entry(1), entry(2), entry(3)]

    def network(_name: str) -> str:
        if agent.told == [("ops", "id-1"), ("ops", "id-2")]:
            raise Killed
        return ""

    agent.run()
    agent.network = network
    with pytest.raises(Killed):
        agent.run(*history)
    agent.runs(5, *history)
    assert sorted(key for _name, key in agent.told) == ["id-1", "id-2", "id-2", "id-3"]


def test_kills_use_up_attempts(agent: Agent) -> None:
    def network(_name: str) -> str:
        raise Killed

    agent.run()
    agent.network = network
    lines: list[str] = []
    for _run in range(400):
        with contextlib.suppress(Killed):
            lines += agent.run(entry(1))
        agent.now += RUNS
    assert len(agent.sent) == ATTEMPTS
    assert ["given up" in line for line in lines] == [True]


def test_nothing_is_posted_that_cannot_be_written_down(agent: Agent) -> None:
    agent.run()
    blocked = agent.path.with_name(f".{agent.path.name}.new")
    blocked.mkdir()
    with pytest.raises(OSError, match="directory"):
        agent.run(entry(1))
    assert agent.sent == []
    blocked.rmdir()
    agent.runs(3, entry(1))
    assert agent.told == [("ops", "id-1")]


def test_a_receiver_that_fails_is_asked_again_and_gets_it_once(tmp_path: Path, receiver: Registry) -> None:
    outbox = Outbox(tmp_path / "outbox.json", [target(receiver)])
    outbox.deliver([], NOW, "h")
    now = NOW
    for rule, said in ((answers(500), "HTTP 500"), (answers(429), "HTTP 429"), (breaks_off, "RemoteDisconnected")):
        receiver.rule = rule
        assert said in outbox.deliver([entry(1)], now, "h")[0]
        now += 3600
    receiver.rule = answers(204)
    for _run in range(3):
        assert outbox.deliver([entry(1)], now, "h") == []
        now += 3600
    asked = [(one.method, one.path, one.authorization) for one in receiver.asked]
    assert asked == [("POST", PATH, f"Bearer {TOKEN}")] * 4


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: "])
def test_a_receiver_that_hangs_or_drips_is_given_up(said: bytes) -> None:
    over = threading.Event()

    def answer() -> None:
        with server.accept()[0] as connection, contextlib.suppress(OSError):
            while not over.wait(0.05):
                connection.sendall(said)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, daemon=True).start()
        slow = Target("ops", "json", f"http://127.0.0.1:{server.getsockname()[1]}/")
        assert post(slow, {}, b"{}", 0.3) == "no answer in time"
        over.set()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_the_token_stays(receiver: Registry, status: int) -> None:
    with running() as other:
        receiver.rule = answers(status, Location=f"{other.url}/elsewhere")
        assert post(target(receiver), {}, b"{}", 5.0) == f"HTTP {status}"
        assert (len(receiver.asked), other.asked) == (1, [])


def test_one_that_speaks_no_tls_or_is_not_there_is_named_by_its_reason(receiver: Registry) -> None:
    secure = Target("ops", "json", receiver.url.replace("http://", "https://") + PATH, TOKEN)
    assert post(secure, {}, b"{}", 5.0).startswith("TLS failed (")
    receiver.stop()
    assert post(target(receiver), {}, b"{}", 5.0) == "Connection refused"


@pytest.mark.parametrize("rule", [answers(200), answers(404), breaks_off])
@pytest.mark.parametrize("kind", ["json", "slack", "ntfy"])
def test_address_and_token_are_nowhere_but_in_the_request(
    tmp_path: Path, receiver: Registry, rule: Rule, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    receiver.rule = rule
    outbox = Outbox(tmp_path / "outbox.json", [target(receiver, kind=kind)])
    outbox.deliver([], NOW, "h")
    lines = [line for run in range(8) for line in outbox.deliver([entry(1)], NOW + 3600 * run, "h")]
    assert len(receiver.asked) == max(1, len(lines))
    files = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    kept = repr((target(receiver), lines, files, capfd.readouterr(), render(target(receiver), entry(1), "h")))
    assert [secret for secret in ("s3cret", receiver.name) if secret in kept] == []
    assert all("s3cret" not in asked.body for asked in receiver.asked)


def test_json_is_the_whole_entry_and_slack_a_text_in_which_nothing_is_a_command() -> None:
    rejected = entry(1, "rejected", failure="unhealthy", message="<!channel> a&b")
    headers, body = render(Target("ops", "json", "https://x.example/"), rejected, "billing-api1")
    said = (
        "api rejected on billing-api1: rollout aaaaaaaaaaaa-11111111 -> bbbbbbbbbbbb-11111111, 12.0 s, by agent; "
        "unhealthy: <!channel> a&b"
    )
    assert json.loads(body) == {**rejected, "host": "billing-api1", "text": said}
    assert headers == {"Idempotency-Key": "id-1", "Content-Type": "application/json"}
    headers_of_slack, body = render(Target("chat", "slack", "https://x.example/"), rejected, "billing-api1")
    escaped = said.replace("->", "-&gt;").replace("<!channel> a&b", "&lt;!channel&gt; a&amp;b")
    assert (headers_of_slack, json.loads(body)) == (headers, {"text": escaped})


def test_ntfy_gets_a_title_and_an_urgency() -> None:
    found = {}
    for outcome in ("live", "healed", "rolled_back", "breaker_open"):
        headers, body = render(Target("phone", "ntfy", "https://x.example/"), entry(1, outcome), "billing-api1")
        assert body.decode().startswith(f"{headers['Title']}: rollout aaaaaaaaaaaa")
        found[headers["Title"]] = f"{headers['Priority']} {headers['Tags']}"
    assert found == {
        "api live on billing-api1": "3 white_check_mark,api,live",
        "api healed on billing-api1": "3 warning,api,healed",
        "api rolled back on billing-api1": "4 x,api,rolled_back",
        "api breaker open on billing-api1": "5 rotating_light,api,breaker_open",
    }


@pytest.mark.parametrize("kind", ["json", "slack", "ntfy"])
def test_odd_text_breaks_no_request(receiver: Registry, kind: str) -> None:
    odd = "line\r\nX-Forged: yes é€ \ud800" * 300
    headers, body = render(target(receiver, kind=kind), entry(1, service=odd, message=odd), "höst")
    assert all(value.isascii() and value.isprintable() for value in headers.values())
    assert post(target(receiver), headers, body, 5.0) == ""
    assert len(body) <= 4096 or kind != "ntfy"


def test_a_receiver_is_read_with_what_is_left_out() -> None:
    assert Target.parse({"name": "ops", "url": "http://[::1]:80/a"}) == Target("ops", "json", "http://[::1]:80/a")
    values = {"name": "ops", "kind": "ntfy", "url": "https://x.example/a?b=c", "token": "tk_1", "outcomes": ["live"]}
    assert Target.parse(values) == Target("ops", "ntfy", "https://x.example/a?b=c", "tk_1", ("live",))


WRONG: dict[str, tuple[Any, ...]] = {
    "name": ("", " ", "two\nlines", 1),
    "kind": ("carrier-pigeon", ["json"]),
    "url": (
        *("", None, "ftp://s3cret.example/", "file:///etc/s3cret", "https:///s3cret", "https://me:s3cret@x.example/"),
        *("https://x.example/s3cret\nX: 1", "https://x.example/s3cret päth", "https://[s3cret/", "https://x:s3cret/"),
    ),
    "token": ("s3cret\nX-Forged: yes", "s3cret…", 1),
    "outcomes": ("s3cret", [1]),
    "mapping": ("s3cret", {"name": "ops", "https://x.example/s3cret": ""}),
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in WRONG for value in WRONG[field]])
def test_what_is_no_receiver_is_refused_without_telling_its_secrets(field: str, value: Any) -> None:
    values = {"name": "ops", "kind": "json", "url": "https://x.example/", field: value}
    with pytest.raises(RolloutError, match=f"it.* {field} ") as caught:
        Target.parse(values if field != "mapping" else value)
    assert caught.value.code == "input_invalid"
    seen: BaseException | None = caught.value
    while seen is not None:
        assert "s3cret" not in f"{seen} {seen!r}"
        seen = seen.__cause__ or seen.__context__


def test_two_receivers_of_one_name_are_refused(tmp_path: Path) -> None:
    targets = [Target("ops", "json", "https://x.example/"), Target("ops", "slack", "https://y.example/")]
    with pytest.raises(RolloutError, match="its own"):
        Outbox(tmp_path / "outbox.json", targets)
