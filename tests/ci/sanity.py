# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Run every sanity test of ansible-test over a copy of the work tree, and prove that each of them ran.

ansible-test refuses a linked collection, and below a folder that git ignores it checks nothing and says so with exit
code 0: hence the copy, and the counting.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.ci.export import export
from tests.ci.setup import BUILD

# What ansible-core 2.21 runs on a collection. Fewer means that something was left out.
EXPECTED = 24
HOME = BUILD / "cache" / "ansible-test-home"
PIP_STAND_IN = """# Stands in for the get-pip.py that ansible-test would download: installs from ensurepip's wheel.
import ensurepip
import pathlib
import sys

folders = [pathlib.Path(ensurepip.__file__).parent / "_bundled", pathlib.Path("/usr/share/python-wheels")]
wheel = next(wheel for folder in folders for wheel in sorted(folder.glob("pip-*.whl")))
sys.path.insert(0, str(wheel))
from pip._internal.cli.main import main

arguments = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
sys.exit(main(["install", *arguments]))
"""


def write_pip_stand_in() -> None:
    """Put the stand-in where ansible-test keeps its download (one name per pip version that it may ask for)."""
    cache = HOME / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in ("24_2", "25_0", "25_1", "25_2", "25_3"):
        (cache / f"get_pip_{version}.py").write_text(PIP_STAND_IN)


def ansible_test(collection: Path, *arguments: str) -> tuple[int, str]:
    """Run `ansible-test sanity` and return its exit code and output, which is shown while it comes."""
    argv = ["ansible-test", "sanity", "--python", f"{sys.version_info.major}.{sys.version_info.minor}", *arguments]
    # The collection lies where ansible-test looks for it; a search path or settings of ours would only confuse it.
    env = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")} | {"HOME": str(HOME)}
    with subprocess.Popen(
        argv, cwd=collection, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    return process.returncode, "".join(lines)


def main() -> int:
    """Run the tests; fail as well when one of them did not run."""
    write_pip_stand_in()
    with tempfile.TemporaryDirectory(prefix="billing-sanity-") as folder:
        collection = export(Path(folder))
        _code, listing = ansible_test(collection, "--list-tests")
        listed = set(re.findall(r"^  ([a-z0-9-]+)$", listing, re.MULTILINE)) or set(listing.split())
        code, output = ansible_test(collection)
    ran = set(re.findall(r'^Running sanity test "([^"]+)"', output, re.MULTILINE))
    verdict = re.search(r"^FATAL: The \d+ sanity test.*failed\..*\n((?:[a-z0-9-]+\n)+)", output, re.MULTILINE)
    failed = set(verdict[1].split()) if verdict else set()
    skipped = re.findall(r"^.*\bskipp(?:ed|ing)\b.*$", output, re.MULTILINE | re.IGNORECASE)
    missing = EXPECTED - len(ran)
    if skipped:
        print(f"ERROR: something was skipped: {skipped[0].strip()}")
    if missing > 0:
        print(f"ERROR: {len(ran)} tests ran, {EXPECTED} were expected; listed but not run: {sorted(listed - ran)}")
    bad = max(len(failed), int(code != 0)) + max(missing, 0) + len(skipped)
    print(f"counts: passed={len(ran) - len(failed & ran)} failed={bad} skipped={len(skipped)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
