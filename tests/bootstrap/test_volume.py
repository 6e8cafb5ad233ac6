# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The data volume: formatted only where it is empty, waited for, mounted. A file stands for the device."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from billing_bootstrap.volume import ensure_volume

from tests.bootstrap.conftest import Machine


@pytest.fixture
def disk(machine: Machine) -> Path:
    """An empty device: a file, which blkid and mkfs take as well. Mounting is a stand-in."""
    missing = [name for name in ("blkid", "wipefs", "mkfs.ext4") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} missing on PATH (packages util-linux and e2fsprogs, as root)")
    device = machine.root / "disk"
    with device.open("wb") as file:
        file.truncate(32 << 20)
    machine.config["data_volume"] = {"device": str(device), "mount": str(machine.root / "data")}
    for name in ("systemctl", "mount"):
        machine.command(name, "true")
    machine.command("systemd-escape", '[ "$1 $2" = "--path --suffix=mount" ] && echo data.mount || echo check.service')
    machine.command("findmnt", f"echo {device}")
    return device


def kind(device: Path) -> str:
    """Return what lies on a device."""
    argv = ["blkid", "--probe", "--match-tag", "TYPE", "--output", "value", str(device)]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()


def test_empty_device_is_formatted_once_and_mounted_at_every_boot(machine: Machine, disk: Path) -> None:
    machine.paths.fstab.write_text("# mine\n/dev/sda1 / ext4 defaults 0 1\n")
    assert machine.run()["state"] == "ready"
    assert kind(disk) == "ext4"
    table = machine.paths.fstab.read_text().splitlines()
    assert table[:2] == ["# mine", "/dev/sda1 / ext4 defaults 0 1"]
    assert table[2].split()[:4] == [str(disk), str(machine.root / "data"), "auto", table[2].split()[3]]
    assert "RequiresMountsFor=" in machine.paths.docker_unit.read_text()
    before = disk.read_bytes()
    assert machine.run()["state"] == "ready"
    assert disk.read_bytes() == before
    assert machine.paths.fstab.read_text().splitlines() == table


def test_file_system_with_data_is_kept(machine: Machine, disk: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", "-L", "mine", str(disk)], check=True)
    before = disk.read_bytes()
    assert machine.run()["state"] == "ready"
    assert disk.read_bytes() == before


@pytest.mark.parametrize("start", [0, (32 << 20) - 1])
def test_device_with_data_and_no_signature_is_refused(machine: Machine, disk: Path, start: int) -> None:
    with disk.open("r+b") as file:
        file.seek(start)
        file.write(b"\1")
    before = disk.read_bytes()
    status = machine.run()
    assert (status["state"], status["phase"]) == ("failed", "volume")
    assert "is not empty. Nothing was touched" in status["reason"]
    assert disk.read_bytes() == before


@pytest.mark.parametrize("what", ["swap", "partitions", "luks"])
def test_device_with_any_signature_is_refused(machine: Machine, disk: Path, what: str) -> None:
    with disk.open("r+b") as file:
        if what == "swap":
            file.seek(4086)
            file.write(b"SWAPSPACE2")
        elif what == "partitions":
            file.seek(446)
            file.write(
                bytes([0, 32, 33, 0, 0x83, 2, 2, 1]) + (2048).to_bytes(4, "little") + (4096).to_bytes(4, "little")
            )
            file.seek(510)
            file.write(b"\x55\xaa")
        else:
            file.write(b"LUKS\xba\xbe\0\2")
    before = disk.read_bytes()
    status = machine.run()
    assert status["state"] == "failed"
    assert "Nothing was touched" in status["reason"]
    assert disk.read_bytes() == before


def test_format_that_was_interrupted_is_done_again(machine: Machine, disk: Path) -> None:
    with disk.open("r+b") as file:
        file.write(b"half of it")
    machine.paths.library.mkdir(parents=True)
    (machine.paths.library / "formatting").write_text(str(disk))
    assert machine.run()["state"] == "ready"
    assert kind(disk) == "ext4"
    assert not (machine.paths.library / "formatting").exists()


def test_late_device_is_waited_for(machine: Machine, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensure_volume, "__defaults__", (0.0,))
    disk.rename(machine.root / "unplugged")
    status = machine.run()
    assert (status["state"], status["phase"]) == ("waiting", "volume")
    assert "is not there: attach it" in status["reason"]
    (machine.root / "unplugged").rename(disk)
    assert machine.run()["state"] == "ready"


def test_other_file_system_in_its_place_is_refused(machine: Machine, disk: Path) -> None:
    machine.command("findmnt", "echo /dev/sdz1")
    status = machine.run()
    assert status["state"] == "failed"
    assert f"is /dev/sdz1, not the data volume {disk}" in status["reason"]


def test_it_is_mounted_by_systemds_own_job(machine: Machine, disk: Path) -> None:
    assert disk.exists()
    assert machine.run()["state"] == "ready"
    assert "systemctl start data.mount" in machine.calls
    assert not any(call.startswith("mount ") for call in machine.calls)


def test_where_systemd_sees_no_devices_it_is_mounted_without(machine: Machine, disk: Path) -> None:
    assert disk.exists()
    machine.command("systemctl", '[ "$1" != show ] || echo not-found')
    assert machine.run()["state"] == "ready"
    assert f"mount {machine.root}/data" in machine.calls


def test_damaged_file_system_is_not_mounted_and_told(machine: Machine, disk: Path) -> None:
    machine.command("systemctl", '[ "$1" != start ] || { echo A dependency job failed >&2; exit 1; }')
    status = machine.run()
    assert (status["state"], status["phase"]) == ("failed", "volume")
    assert status["reason"].startswith(f"the file system on {disk} is damaged")
    assert f"fsck {disk}" in status["reason"]
    assert "systemctl is-failed check.service" in machine.calls
    assert not any(call.startswith("mount ") for call in machine.calls)


def test_other_failure_to_mount_is_told_as_systemd_tells_it(machine: Machine, disk: Path) -> None:
    assert disk.exists()
    machine.command("systemctl", '[ "$1" != start ] && [ "$1" != is-failed ] || { echo Job timed out >&2; exit 1; }')
    assert "cannot be mounted: Job timed out journalctl --unit data.mount" in machine.run()["reason"]
