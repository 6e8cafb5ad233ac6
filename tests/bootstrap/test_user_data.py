# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The user data, from Terraform's lab root to the lab's command line."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab import LabError
from tests.lab.cli import USER_DATA, user_data
from tests.terraform.conftest import LabRoot, new_lab_root

BOOTSTRAP: dict[str, Any] = {
    "bundle": {"url": "https://files.example.com/bundle.tar.gz", "sha256": "0" * 64},
    "variables": {"api_image": "registry.example.com/billing-api:stable", "api_env": {"A": "b"}},
}


@pytest.fixture
def root(tmp_path: Path) -> LabRoot:
    """terraform/lab, with a stand-in for the lab that keeps the user data."""
    binary = shutil.which("terraform") or shutil.which("tofu")
    if binary is None:
        pytest.skip("neither terraform nor tofu is on PATH")
    made = new_lab_root(binary, tmp_path)
    with (made.folder / "lab").open("a") as script:
        script.write('printf %s "${LAB_USER_DATA:-}" > "${0%/*}/user_data.$5"\n')
    return made


def rendered(root: LabRoot, host: str = "api1") -> bytes:
    """Return the user data that the lab was called with."""
    return gzip.decompress(base64.b64decode((root.folder / f"user_data.{host}").read_text()))


def test_hosts_get_user_data_and_no_connection(root: LabRoot) -> None:
    calls = root.apply(bootstrap=BOOTSTRAP)
    assert sorted(call.rpartition("host ")[2] for call in calls) == [
        "add api1 --cloud-init --address 10.9.8.11",
        "add api2 --cloud-init --address 10.9.8.12",
    ]
    content = rendered(root)
    assert content.startswith(b"#cloud-config\n")
    assert yaml.safe_load(content)["hostname"] == "api1"
    state = json.loads((root.folder / "terraform.tfstate").read_text())
    host = state["outputs"]["ansible_inventory"]["value"]["hosts"]["api1"]
    assert host["connection"]["type"] == "none"
    assert host["volumes"]["data"]["device"] == "/dev/disk/by-id/lab-data"
    assert not root.changes_planned(bootstrap=BOOTSTRAP)


def test_new_user_data_replaces_the_host(root: LabRoot) -> None:
    root.apply(bootstrap=BOOTSTRAP)
    calls = root.apply(bootstrap={**BOOTSTRAP, "interval": "1h"})
    assert sorted(call.split("host ")[1].split()[0] for call in calls) == ["add", "add", "remove", "remove"]


def test_cloud_init_accepts_it(root: LabRoot, tmp_path: Path) -> None:
    if shutil.which("cloud-init") is None:
        pytest.skip("cloud-init is not installed here; the lab's server checks its own user data")
    root.apply(
        bootstrap={**BOOTSTRAP, "ca_certificates": ["-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----"]}
    )
    (tmp_path / "user-data").write_bytes(rendered(root))
    argv = ["cloud-init", "schema", "--config-file", str(tmp_path / "user-data")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("given", "message"), [("", "needs user data"), ("%", "is not base64")])
def test_lab_refuses_what_is_no_user_data(monkeypatch: pytest.MonkeyPatch, given: str, message: str) -> None:
    monkeypatch.setenv(USER_DATA, given)
    with pytest.raises(LabError, match=message):
        user_data()
