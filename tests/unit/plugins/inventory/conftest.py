# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""An inventory of one host, without settings of whoever runs the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ..plugin_utils.terraform_samples import state
from .inventory_folder import Inventory

REPOSITORY = Path(__file__).resolve().parents[4]


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    collections = tmp_path / "collections"
    link = collections / "ansible_collections" / "billing" / "infrastructure"
    link.parent.mkdir(parents=True)
    link.symlink_to(REPOSITORY)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "TF_"))}
    made = Inventory(
        tmp_path,
        {
            **kept,
            "ANSIBLE_COLLECTIONS_PATH": str(collections),
            "ANSIBLE_HOME": str(tmp_path / "home"),
            "ANSIBLE_INVENTORY_ENABLED": "auto",
            "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        },
    )
    made.configure()
    made.write_state(state())
    return made
