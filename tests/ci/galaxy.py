# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Build the collection's tarball, check what is in it, import it as Galaxy would, and use it as a user would."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.ci.setup import BUILD, ROOT
from tests.ci.suites import tracked

DIST = BUILD / "dist"
INSTALLED = DIST / "installed"
COLLECTION = "billing.infrastructure"
NEEDED = {"README.md", "LICENSE", "meta/runtime.yml", "changelogs/changelog.yaml", "playbooks/deploy_compose.yml"}
MADE_BY_GALAXY = {"MANIFEST.json", "FILES.json"}
PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\r?\n[A-Za-z0-9+/=]{40}")


class CheckError(Exception):
    """What is wrong with the tarball."""


def tarball() -> Path:
    """Return the one tarball that was built."""
    found = sorted(DIST.glob("*.tar.gz"))
    if len(found) != 1:
        raise CheckError(f"expected one tarball in {DIST}, found {len(found)}")
    return found[0]


def run(argv: list[str], cwd: Path = ROOT, **env: str) -> str:
    """Run a command and return its standard output; show what it warns of, fail with all it says."""
    done = subprocess.run(argv, cwd=cwd, env=os.environ | env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CheckError(f"`{' '.join(argv)}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    if done.stderr:
        print(done.stderr, end="", flush=True)
    return done.stdout


def build() -> int:
    """Build from the checkout as it lies there, with all that tests left in it; return the number of files."""
    shutil.rmtree(DIST, ignore_errors=True)
    print(run(["ansible-galaxy", "collection", "build", "--output-path", str(DIST)]), end="")
    with tarfile.open(tarball()) as archive:
        members = {member.name: member for member in archive.getmembers() if not member.isdir()}
        keys = [
            name
            for name, member in members.items()
            if member.isfile() and (file := archive.extractfile(member)) and PRIVATE_KEY.search(file.read())
        ]
    strangers = sorted(set(members) - set(tracked()) - MADE_BY_GALAXY)
    if strangers:
        raise CheckError(f"not part of the project, but in the tarball (see build_ignore): {strangers[:20]}")
    if missing := sorted(NEEDED - set(members)):
        raise CheckError(f"not in the tarball: {missing}")
    if keys:
        raise CheckError(f"private keys in the tarball: {keys}")
    print(f"{tarball().name}: {len(members)} files, {tarball().stat().st_size // 1024} KiB")
    return 1


def import_as_galaxy() -> int:
    """Run the importer that Galaxy runs. It ends with 0 on warnings; here they are failures."""
    argv = ["sh", "-c", 'exec "$@" 2>&1', "sh", sys.executable, "-m", "galaxy_importer.main", str(tarball())]
    output = run(argv, cwd=DIST)
    print(output, end="")
    bad = [line for line in output.splitlines() if re.search(r"\b(WARNING|ERROR|CRITICAL)\b", line)]
    if bad:
        raise CheckError("galaxy-importer complains:\n" + "\n".join(bad))
    if not (DIST / "importer_result.json").exists():
        raise CheckError("galaxy-importer wrote no result")
    return 1


def install() -> int:
    """Install the tarball offline and read the documentation of everything in it; return the number of things read."""
    run(
        [
            "ansible-galaxy",
            "collection",
            "install",
            "--offline",
            "--no-deps",
            "--force",
            "-p",
            str(INSTALLED),
            str(tarball()),
        ]
    )
    path = {"ANSIBLE_COLLECTIONS_PATH": str(INSTALLED), "ANSIBLE_CONFIG": str(DIST / "none.cfg")}
    root = INSTALLED / "ansible_collections" / "billing" / "infrastructure"
    (DIST / "none.cfg").write_text("")
    read = 0
    for kind, folder in (("module", "modules"), ("inventory", "inventory")):
        for plugin in sorted((root / "plugins" / folder).glob("[a-z]*.py")):
            name = f"{COLLECTION}.{plugin.stem}"
            documented = json.loads(run(["ansible-doc", "--json", "-t", kind, name], DIST, **path))[name]
            if not documented.get("examples") or (kind == "module" and not documented.get("return")):
                raise CheckError(f"{name}: ansible-doc shows no examples or no return values")
            read += 1
    for role in sorted(folder.name for folder in (root / "roles").iterdir()):
        name = f"{COLLECTION}.{role}"
        if (
            not json.loads(run(["ansible-doc", "--json", "-t", "role", name], DIST, **path))
            .get(name, {})
            .get("entry_points")
        ):
            raise CheckError(f"role {name}: ansible-doc shows no entry point")
        read += 1
    for playbook in sorted((root / "playbooks").glob("[a-z]*.yml")):
        run(["ansible-playbook", "-i", "localhost,", "--syntax-check", f"{COLLECTION}.{playbook.stem}"], DIST, **path)
        read += 1
    return read


def main() -> int:
    """Run one of the checks."""
    checks = {"build": build, "import": import_as_galaxy, "install": install}
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("check", choices=checks)
    try:
        passed = checks[parser.parse_args().check]()
    except CheckError as error:
        print(f"ERROR: {error}")
        return 1
    print(f"counts: passed={passed} failed=0 skipped=0")
    return 0


if __name__ == "__main__":
    sys.exit(main())
