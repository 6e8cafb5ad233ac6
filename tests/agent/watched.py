# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""A server that follows its tag, and everybody whom it tells how it went."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.faults.site import FIRST, Site
from tests.integration.client import Answer
from tests.integration.runs import ROOT
from tests.integration.stack import Measurements

NAME = "agent"
UNIT = "billing-rollout.service"
SECRET, TOKEN = "knock-secret-of-the-lab-0001", "release-token-of-the-lab-0001"
KNOCK, RELEASE = "/-/knock", "/-/release"
MEASUREMENTS = ROOT / "build" / NAME / "measurements.json"
METRICS = "/var/lib/prometheus/node-exporter/billing.prom"


class Receiver:
    """A webhook of somebody who wants to know; keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                """Keep the test's output clean."""

        self._server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)  # noqa: S104 - the lab's hosts must reach it
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Listen no longer."""
        self._server.shutdown()
        self._server.server_close()


class Watched(Site):
    """The lab `agent`: one host that follows the tag `stable`."""

    def __init__(self) -> None:
        self.receiver = Receiver()
        gateway = "http://{{ ansible_facts['default_ipv4']['gateway'] }}"
        variables = {
            "rollout_agent_state": "present",
            "rollout_agent_services": {"api": {}, "nginx": {"mode": "pin"}},
            "rollout_agent_interval": 5,
            "rollout_agent_metrics_file": METRICS,
            "rollout_agent_notifications": [{"name": "lab", "url": f"{gateway}:{self.receiver.port}/"}],
            "rollout_agent_knock_secret": SECRET,
            "rollout_agent_release_token": TOKEN,
            "nginx_knock_path": KNOCK,
            "nginx_release_path": RELEASE,
        }
        super().__init__(NAME, variables)
        self.measure = Measurements(MEASUREMENTS)

    def up(self) -> None:
        """Deploy, with the agent stopped: each test says when it looks."""
        super().up()
        self.stop_timer()
        self.baseline = self.leftovers()

    def restore(self) -> None:
        """Have what the tag names live, and nothing else, whatever the test before has left."""
        self.stop_timer()
        if not self.live_image().endswith(self.digest(self.good)):
            self.publish()
            self.succeed(self.good, force=True)
        super().restore()

    def down(self) -> None:
        """Remove it all."""
        self.receiver.close()
        super().down()

    # -- what the outside does

    def publish(self, **environment: str) -> str:
        """Move the tag that is followed to a new image; return its digest."""
        return self.digest(self.push(FIRST, **environment))

    def moved(self, digest: str) -> None:
        """Note that somebody else moved the tag to this digest."""
        self._pushed[FIRST] = digest

    def knock(self, secret: str = SECRET) -> int:
        """Knock as CI does; return the status of the answer."""
        now = str(int(time.time()))
        mark = hmac.new(secret.encode(), f"{now}.".encode() + b"{}", hashlib.sha256).hexdigest()
        headers = {"X-Billing-Signature": f"t={now},v1={mark}"}
        return self.client.call("POST", KNOCK, {}, headers).status

    def ask(self) -> Answer:
        """Ask for the release as CI does."""
        return self.client.get(RELEASE, Authorization=f"Bearer {TOKEN}")

    def release(self) -> dict[str, Any]:
        """Return what CI is told of the API."""
        answer = self.ask()
        assert answer.status == 200, answer
        found: dict[str, Any] = answer.json()["services"]["api"]
        return found

    def wait_released(self, digest: str, timeout: float = 90) -> None:
        """Wait until CI would be told that a digest is live. `timeout` in seconds."""

        def live() -> bool:
            try:
                answer = self.ask()
            except (OSError, HTTPException):  # The host boots.
                return False
            found = answer.json()["services"]["api"] if answer.status == 200 else {}
            return found.get("digest") == digest and found["rollout"] is None

        deadline = time.monotonic() + timeout
        while not live():
            assert time.monotonic() < deadline, f"{digest} is not released after {timeout:.0f} s"
            time.sleep(0.5)  # More than a few a second are refused.

    # -- what the server does

    def stop_timer(self) -> None:
        """Let the agent look only when it is told to."""
        self.remote.sh(f"systemctl stop billing-rollout.timer; while systemctl is-active -q {UNIT}; do sleep 0.2; done")

    def start_timer(self) -> None:
        """Let the agent look by itself."""
        self.remote.sh("systemctl start billing-rollout.timer")

    def look(self) -> str:
        """Let the agent look once, and return how its unit ended."""
        self.remote.sh(f"systemctl reset-failed {UNIT} || true; systemctl start {UNIT} || true", timeout=300)
        return self.remote.sh(f"systemctl show --property=Result --value {UNIT}").strip()

    def command(self, *arguments: str, check: bool = True) -> str:
        """Run `billing-rollout` on the host and return what it printed."""
        return self.remote.run("billing-rollout", *arguments, check=check, timeout=300).stdout

    def history(self) -> list[dict[str, Any]]:
        """Return all entries of the history, oldest first."""
        lines = self.remote.sh("cat /opt/billing/state/history.jsonl").splitlines()
        return [json.loads(line) for line in lines]
