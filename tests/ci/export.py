# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Copy the files of the project, and nothing else that lies in the checkout, to where a collection belongs."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.ci.setup import ROOT
from tests.ci.suites import tracked


def export(parent: Path) -> Path:
    """Copy the work tree to `parent/ansible_collections/billing/infrastructure` and return that folder."""
    target = parent / "ansible_collections" / "billing" / "infrastructure"
    for name in tracked():
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy, follow_symlinks=False)
    return target
