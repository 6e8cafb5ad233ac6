# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Runs on a lab host beside a copy of the engine: one call, its actions and its outcome as JSON lines.

The request is a JSON object: op (apply, rollback, restart, or check: the agent's run), service, and where wanted image,
force, other fields of the intent under `intent`, and kill: ["before"|"after", number of the action, or a word of it],
at which this process kills itself; with stop in place of kill it stays there.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from _rollout.agent import Agent  # type: ignore[import-not-found]
from _rollout.agent_state import AgentState  # type: ignore[import-not-found]
from _rollout.config import Config  # type: ignore[import-not-found]
from _rollout.engine import host_engine  # type: ignore[import-not-found]
from _rollout.release import RolloutError  # type: ignore[import-not-found]


def main() -> int:
    """Carry out the request."""
    request = json.loads(sys.argv[1])
    kill_when, kill_at = request.get("kill") or request.get("stop") or ("", 0)
    end = signal.SIGKILL if "kill" in request else signal.SIGSTOP
    count = 0
    last = ""

    def hook(when: str, action: Any) -> None:
        nonlocal count, last
        name = str(action)
        if when == "before" and name != last:  # A wait that goes on is one action.
            count += 1
            last = name
            print(json.dumps({"action": name}), flush=True)
        if when == kill_when and kill_at in (count, *name.split()):
            os.kill(os.getpid(), end)

    engine = host_engine(Path("/opt/billing"), "billing", lambda line: print(line, file=sys.stderr), hook, "agent")
    service = request["service"]
    try:
        if request["op"] == "apply":
            intent = engine.recorded_intent(service)
            changes = {name: request[name] for name in ("image", "force") if name in request}
            outcome = engine.apply(dataclasses.replace(intent, **changes, **request.get("intent", {})))
        elif request["op"] == "check":
            config = Config.load()
            Agent(engine, config, AgentState(config.root)).check(eager=True)
            return 0
        else:
            outcome = getattr(engine, request["op"])(service)
    except RolloutError as error:
        print(json.dumps({"failure": error.as_dict()}), flush=True)
        return 1
    print(json.dumps({"ok": outcome.as_dict()}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
