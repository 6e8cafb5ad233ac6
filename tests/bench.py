# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Measure a run of deploy_compose.yml that changes nothing: seconds and tasks, over SSH, on the demo's server."""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time

from tests.demo import Demo, StepFailedError, unchanged, up

SILENT = re.compile(r"(?!)")


def main() -> int:
    """Bring the demo up where it is not, then measure."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    demo = Demo("demo")
    seconds: list[float] = []
    try:
        up(demo)
        for number in range(runs):
            started = time.monotonic()
            recap = unchanged(demo.playbook(f"no-op run {number + 1} of {runs}", "deploy_compose.yml", SILENT))
            seconds.append(time.monotonic() - started)
            demo.say(f"    {recap} in {seconds[-1]:.1f} s")
    except StepFailedError as error:
        demo.say(f"FAILED: {error}")
        return 1
    finally:
        demo.close_ssh_connections()
    print(f"no-op run: median {statistics.median(seconds):.1f} s, {min(seconds):.1f} to {max(seconds):.1f} s; {recap}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
