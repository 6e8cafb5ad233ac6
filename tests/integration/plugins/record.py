# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Ansible callback plugin for the tests: what happens, as one JSON object per line, while the output stays as it is."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: record
type: aggregate
short_description: Write events to the file that INTEGRATION_EVENTS names
description:
  - For the tests of this collection only.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Writes an event when a task starts, ends on a host, and when the play is over."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "record"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._file = open(os.environ["INTEGRATION_EVENTS"], "a", buffering=1)  # noqa: PTH123, SIM115

    def _write(self, event: str, **more: Any) -> None:
        self._file.write(json.dumps({"event": event, "at": time.time(), **more}, default=str) + "\n")

    def _result(self, event: str, result: Any, **more: Any) -> None:
        self._write(event, host=result.host.get_name(), task=result.task.get_name(), result=result.result, **more)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002
        """A task begins."""
        self._write("start", task=task.get_name())

    def v2_runner_on_ok(self, result: Any) -> None:
        """A task ended well on a host."""
        self._result("ok", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """A task was left out on a host."""
        self._result("skipped", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A task failed on a host."""
        self._result("failed", result, ignored=ignore_errors)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """One round of a loop failed on a host."""
        self._result("item_failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host could not be reached."""
        self._result("unreachable", result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The end."""
        self._write("stats", hosts={host: stats.summarize(host) for host in stats.processed})
