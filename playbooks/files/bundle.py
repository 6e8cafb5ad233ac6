# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Pack billing.infrastructure and the collections that it depends on, as Ansible finds them here, into one archive.

Called by the playbook bundle.yml with the folder to write to; prints the path, the SHA-256, the collections and whether
anything changed. Reproducible: the archive holds sorted names and contents, no times and no owners.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import io
import json
import os
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from ansible.plugins.loader import init_plugin_loader

OWN = "billing.infrastructure"
# What Ansible reads of a collection when it runs; documentation and tests stay here.
FOLDERS = ("meta", "playbooks", "plugins", "roles")
FILES = ("LICENSE", "COPYING", "MANIFEST.json", "galaxy.yml")
_SKIPPED = {"__pycache__", "tests"}


def main(folder: Path) -> dict[str, Any]:
    """Write the bundle into the folder unless it is there."""
    init_plugin_loader()
    found = _with_dependencies(OWN)
    content = pack({name: path for name, (path, _description) in found.items()})
    versions = {name: str(description["version"]) for name, (_path, description) in found.items()}
    target = folder / f"bundle-{versions[OWN]}.tar.gz"
    changed = not target.exists() or target.read_bytes() != content
    if changed:
        folder.mkdir(parents=True, exist_ok=True)
        new = target.with_suffix(".new")
        new.write_bytes(content)
        new.replace(target)
    sha256 = hashlib.sha256(content).hexdigest()
    return {"path": str(target), "sha256": sha256, "collections": versions, "changed": changed}


def _with_dependencies(wanted: str) -> dict[str, tuple[Path, dict[str, Any]]]:
    found: dict[str, tuple[Path, dict[str, Any]]] = {}
    queue = [wanted]
    while queue:
        name = queue.pop()
        if name not in found:
            path = _locate(name)
            found[name] = path, _describe(path)
            queue += found[name][1].get("dependencies") or {}
    return dict(sorted(found.items()))


def _locate(name: str) -> Path:
    """Return the folder that Ansible itself would load the collection from."""
    try:
        package = importlib.import_module(f"ansible_collections.{name}")
    except ImportError as error:
        message = f"{name} is not installed here: run ansible-galaxy collection install {name}, then again"
        raise SystemExit(message) from error
    return Path(next(iter(package.__path__)))


def _describe(path: Path) -> dict[str, Any]:
    """Return name, version and dependencies of a collection, installed or a checkout."""
    manifest = path / "MANIFEST.json"
    if manifest.exists():
        return dict(json.loads(manifest.read_text())["collection_info"])
    return dict(yaml.safe_load((path / "galaxy.yml").read_text()))


def pack(collections: dict[str, Path]) -> bytes:
    """Return the archive, which depends on names, contents and executable bits alone."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", fileobj=buffer, mode="wb", compresslevel=9, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, root in sorted(collections.items()):
            for file in sorted(_files(root)):
                content = file.read_bytes()
                place = Path("ansible_collections", *name.split("."), file.relative_to(root))
                entry = tarfile.TarInfo(place.as_posix())
                entry.size = len(content)
                entry.mode = 0o755 if os.access(file, os.X_OK) else 0o644
                archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _files(root: Path) -> Iterator[Path]:
    yield from (root / name for name in FILES if (root / name).is_file())
    for folder in FOLDERS:
        for path in (root / folder).rglob("*"):
            parts = path.relative_to(root).parts
            hidden = any(part.startswith(".") for part in parts)
            if path.is_file() and not hidden and _SKIPPED.isdisjoint(parts) and path.suffix != ".pyc":
                yield path


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))) + "\n")
