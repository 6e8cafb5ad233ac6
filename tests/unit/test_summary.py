# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The end of `make test` names what failed: of a run on another machine it may be all that is seen."""

from __future__ import annotations

from pathlib import Path

from tests.ci.run import Counts, Result, junit_clues, junit_counts, summary

REPORT = """<testsuites><testsuite tests="3" failures="1" errors="1" skipped="0">
<testcase classname="tests.a" name="test_good"/>
<testcase classname="tests.a" name="test_bad[1]">
<failure message="AssertionError: two\n  lines">trace</failure></testcase>
<testcase classname="tests.a" name="test_broken"><error message="{long}">trace</error></testcase>
</testsuite></testsuites>"""


def test_the_summary_names_each_failed_test_and_why(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT.format(long="x" * 5000))
    assert junit_counts(report) == Counts(passed=1, failed=2)
    clues = junit_clues(report)
    assert clues[0] == "tests.a::test_bad[1]: AssertionError: two lines"
    assert clues[1].startswith("tests.a::test_broken: xxx")
    assert len(clues[1]) < 500
    lines = summary([Result("faults", junit_counts(report), 3.0, ("faults",), tuple(clues))], 3.0).splitlines()
    assert lines[-3:-1] == clues
    assert lines[-1] == "FAILED: faults (see build/logs/), 3 s"
