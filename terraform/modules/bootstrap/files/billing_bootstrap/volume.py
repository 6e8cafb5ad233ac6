# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The data volume: waited for, formatted where it is empty, mounted."""

import os
import time
from pathlib import Path

from .host import MEBIBYTE, NotReadyError, Paths, WaitingError, must, run, say, sync_folder, write

DEVICE_SECONDS = 30.0
# Below the hour that systemd gives a run. A check of the file system that takes longer goes on by itself.
MOUNT_SECONDS = 3000.0


def ensure_volume(volume: dict[str, str], paths: Paths, seconds: float = DEVICE_SECONDS) -> None:
    """Have the data volume mounted, at the next boot too. Only an empty device is formatted, ever."""
    device, mount = volume["device"], Path(volume["mount"])
    _wait_for_device(device, seconds)
    if not os.path.ismount(mount):
        _format_if_empty(device, paths.library / "formatting")
        mount.mkdir(parents=True, exist_ok=True)
    else:
        _refuse_another(device, mount)
    _write_fstab(device, str(mount), paths.fstab)
    unit = f"# Containers start when their data is there\n[Unit]\nRequiresMountsFor={mount}\n"
    if not paths.docker_unit.exists() or paths.docker_unit.read_text() != unit:
        write(paths.docker_unit, unit)
    must(["systemctl", "daemon-reload"])  # Also for what a run wrote that was killed right after.
    if not os.path.ismount(mount):
        _mount(device, mount)
        _refuse_another(device, mount)


def _mount(device: str, mount: Path) -> None:
    """Mount through systemd: after its own job where the boot has begun one, and checked before."""
    unit = must(["systemd-escape", "--path", "--suffix=mount", str(mount)]).strip()
    # So it is where systemd sees no devices, in a container whose /sys is read-only.
    if must(["systemctl", "show", "--property=LoadState", "--value", unit]).strip() == "not-found":
        must(["mount", str(mount)])
        return
    done = run(["systemctl", "start", unit], MOUNT_SECONDS)
    if done.returncode == 0:
        return
    check = must(["systemd-escape", "--path", "--template=systemd-fsck@.service", device]).strip()
    if run(["systemctl", "is-failed", check], 60).returncode == 0:
        raise NotReadyError(
            f"the file system on {device} is damaged beyond what fsck mends by itself. It was not mounted. "
            f"Take a snapshot, then run: fsck {device}"
        )
    raise NotReadyError(f"{device} cannot be mounted: {done.stderr.strip()[-500:]} journalctl --unit {unit} says more")


def _refuse_another(device: str, mount: Path) -> None:
    source = must(["findmnt", "--noheadings", "--output", "SOURCE", "--mountpoint", str(mount)]).strip()
    found = os.path.realpath(source)
    if found != os.path.realpath(device):
        raise NotReadyError(
            f"{mount} is {found}, not the data volume {device}: unmount that, and remove it from /etc/fstab"
        )


def _wait_for_device(device: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not Path(device).exists():
        if time.monotonic() > deadline:
            raise WaitingError(f"the data volume {device} is not there: attach it, or correct data_volume.device")
        time.sleep(0.5)


def _format_if_empty(device: str, begun: Path) -> None:
    """Make a file system on a device that carries none, no other signature, and nothing but zeros at both ends.

    begun: says that it was formatted before and the server went down meanwhile: what lies there is ours.
    """
    probed = run(["blkid", "--probe", "--output", "export", device], 60)
    found = dict(line.split("=", 1) for line in probed.stdout.splitlines() if "=" in line)
    if found.get("USAGE") == "filesystem":
        begun.unlink(missing_ok=True)
        return
    signatures = must(["wipefs", "--noheadings", "--output", "TYPE", device]).split()
    # blkid: 2 means that there is nothing it knows
    if probed.returncode != 2 or found or signatures:
        kinds = (
            ", ".join(signatures) or found.get("TYPE") or found.get("PTTYPE") or probed.stderr.strip() or "something"
        )
        raise NotReadyError(
            f"{device} is neither empty nor a file system: it holds {kinds}. Nothing was touched. "
            f"Give another volume, or, if its data may go, run: wipefs --all {device}"
        )
    ours = begun.exists() and begun.read_text() == device
    if not ours and not _zeros_at_both_ends(device):
        raise NotReadyError(
            f"{device} has no file system, but is not empty. Nothing was touched. "
            f"Give another volume, or, if its data may go, run: blkdiscard --zeroout {device}"
        )
    say(f"formatting {device}, which is empty")
    write(begun, device)
    must(["mkfs.ext4", "-q", "-m", "1", "-L", "billing-data", device], 1800)
    begun.unlink()
    sync_folder(begun.parent)


def _zeros_at_both_ends(device: str) -> bool:
    with Path(device).open("rb") as file:
        first = file.read(MEBIBYTE)
        file.seek(max(0, file.seek(0, os.SEEK_END) - MEBIBYTE))
        return not any(first) and not any(file.read(MEBIBYTE))


def _write_fstab(device: str, mount: str, fstab: Path) -> None:
    lines = fstab.read_text().splitlines() if fstab.exists() else []
    line = f"{device} {mount} auto defaults,nofail,x-systemd.device-timeout=30s 0 2"
    kept = [other for other in lines if other.startswith("#") or other.split()[1:2] != [mount]]
    if [*kept, line] != lines:
        write(fstab, "\n".join([*kept, line]) + "\n")
