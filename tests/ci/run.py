# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Run the suites of tests named, all of them to the end, and print one summary.

The output of a suite goes to the console and to `build/logs/SUITE.log`. A suite is red when a step of it fails, when
it ran no test, or when a step that must exist is missing: nothing that was not checked is called green.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.ci import setup
from tests.ci.suites import SUITES, Step, Suite, environment

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / "build" / "logs"
# A step that is not pytest reports what it checked with such a line.
COUNTS = re.compile(r"^counts: passed=(\d+) failed=(\d+) skipped=(\d+)$")
# Of a failed test the summary shows one line of this length; where only the end of the output is kept, it is all there.
_CLUE = 400


@dataclass
class Counts:
    """How many tests ended how."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, other: Counts) -> None:
        """Add the numbers of another count to this one."""
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped


@dataclass(frozen=True)
class Result:
    """What became of one suite. `seconds` is wall-clock time; `clues` has a line for each failed test."""

    suite: str
    counts: Counts
    seconds: float
    failed_steps: tuple[str, ...]
    clues: tuple[str, ...] = ()

    @property
    def green(self) -> bool:
        """Tell whether everything ran and held."""
        return not self.failed_steps and self.counts.failed == 0 and self.counts.passed > 0


def junit_counts(report: Path) -> Counts:
    """Read the numbers of tests from a JUnit report."""
    counts = Counts()
    for suite in ET.parse(report).getroot().iter("testsuite"):  # noqa: S314 (written by our own pytest)
        total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        counts.add(Counts(total - skipped - failed, failed, skipped))
    return counts


def junit_clues(report: Path) -> list[str]:
    """Say of each failed test in a JUnit report, in one line, what it is called and why it failed."""
    clues = []
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 (written by our own pytest)
        for end in (*case.iterfind("failure"), *case.iterfind("error")):
            line = f"{case.get('classname')}::{case.get('name')}: {' '.join(end.get('message', '').split())}"
            clues.append(line[:_CLUE])
    return clues


class Console:
    """The console, which lanes share. With more than one, each line says whose it is."""

    def __init__(self, lanes: int) -> None:
        self.prefixed = lanes > 1

    def write(self, suite: str, text: str) -> None:
        """Print lines of a suite at once."""
        lines = text.splitlines(keepends=True)
        sys.stdout.write("".join(f"{suite:<12}| {line}" for line in lines) if self.prefixed else text)
        sys.stdout.flush()


@contextlib.contextmanager
def alone(suite: Suite, console: Console) -> Iterator[None]:
    """Hold the machine's lock of a suite that owns a lab: two runs would remove each other's."""
    if not suite.exclusive:
        yield
        return
    with (Path(tempfile.gettempdir()) / f"billing-suite-{suite.name}-{os.getuid()}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.write(suite.name, f"=== {suite.name}: waiting for another run on this machine\n")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def report_of(suite: str, step: Step) -> Path:
    """Return where the JUnit report of a step goes."""
    return LOGS / f"{suite}-{re.sub('[^a-z0-9]+', '-', step.name.lower())}.xml"


def run_step(suite: str, step: Step, log_path: Path, console: Console) -> tuple[int, Counts]:
    """Run one step; return its exit code and how many tests it counted (a plain command is one test)."""
    report = report_of(suite, step)
    report.unlink(missing_ok=True)
    argv = [*step.argv, f"--junitxml={report}"] if step.pytest else list(step.argv)
    counts: Counts | None = None
    with log_path.open("a") as log:
        console.write(suite, f"\n=== {suite}: {step.name}\n")
        log.write(f"\n=== {step.name}\n$ {' '.join(argv)}\n")
        process = subprocess.Popen(
            argv,
            cwd=ROOT / step.cwd,
            env=environment(step.venv) | dict(step.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert process.stdout is not None
        for line in process.stdout:
            console.write(suite, line)
            log.write(line)
            log.flush()
            if found := COUNTS.match(line.strip()):
                counts = Counts(*map(int, found.groups()))
        code = process.wait()
    if step.pytest:
        counts = junit_counts(report) if report.exists() else Counts(failed=1)
    elif counts is None:
        counts = Counts(passed=int(code == 0), failed=int(code != 0))
    return code, counts


def run_suite(suite: Suite, console: Console) -> Result:
    """Run every step of a suite, failed ones included, and add up."""
    log_path = LOGS / f"{suite.name}.log"
    log_path.write_text("")
    failed: list[str] = []
    clues: list[str] = []
    started, counts = time.monotonic(), Counts()
    for step in suite.steps():
        if step.only_after_success and failed:
            console.write(suite.name, f"=== {suite.name}: {step.name}: not run, {failed[0]} failed\n")
            failed.append(step.name)
            counts.add(Counts(failed=1))
            continue
        code, numbers = run_step(suite.name, step, log_path, console)
        counts.add(numbers)
        if code != 0:
            failed.append(step.name)
            report = report_of(suite.name, step)
            clues += junit_clues(report) if report.exists() else []
            console.write(suite.name, f"=== {suite.name}: {step.name}: FAILED with {code}\n")
    return Result(suite.name, counts, time.monotonic() - started, tuple(failed), tuple(clues))


def summary(results: Sequence[Result], seconds: float) -> str:
    """Render the table at the end."""
    lines = ["", f"{'suite':<14}{'result':<8}{'seconds':>8}{'passed':>8}{'failed':>8}{'skipped':>9}"]
    for result in results:
        word, numbers = "ok" if result.green else "FAILED", result.counts
        row = f"{result.suite:<14}{word:<8}{result.seconds:>8.0f}"
        row += f"{numbers.passed:>8}{numbers.failed:>8}{numbers.skipped:>9}  {'; '.join(result.failed_steps)}"
        lines.append(row.rstrip())
    lines += [clue for result in results for clue in result.clues]
    red = [result.suite for result in results if not result.green]
    verdict = f"FAILED: {', '.join(red)} (see build/logs/)" if red else "all suites are green"
    return "\n".join([*lines, f"{verdict}, {seconds:.0f} s"])


def run_lanes(suites: Sequence[Suite]) -> list[Result]:
    """Run suites one after the other in each lane, the lanes side by side; keep the order of the results."""
    lanes: dict[int, list[Suite]] = {}
    for suite in suites:
        lanes.setdefault(suite.lane, []).append(suite)
    console = Console(len(lanes))

    def run_lane(lane: list[Suite]) -> list[Result]:
        results = []
        for suite in lane:
            with alone(suite, console):
                results.append(run_suite(suite, console))
        return results

    with ThreadPoolExecutor(len(lanes)) as pool:
        done = {result.suite: result for results in pool.map(run_lane, lanes.values()) for result in results}
    return [done[suite.name] for suite in suites]


def main() -> int:
    """Run suites. Without a name: all of them, fast ones first."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(SUITES))
    names = parser.parse_args().suites or [name for name, suite in SUITES.items() if suite.in_all]
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        parser.error(f"no suite {unknown[0]}; there are {', '.join(SUITES)}")
    started = time.monotonic()
    needed = sorted({"tools"} | {name for suite in names for name in SUITES[suite].environments})
    packages = sorted({package for suite in names for package in SUITES[suite].missing_packages()})
    try:
        setup.prepare(needed, packages)
    except setup.SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    LOGS.mkdir(parents=True, exist_ok=True)
    results = run_lanes([SUITES[name] for name in names])
    table = summary(results, time.monotonic() - started)
    print(table, flush=True)
    (LOGS / "summary.txt").write_text(table + "\n")
    return 0 if all(result.green for result in results) else 1


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
