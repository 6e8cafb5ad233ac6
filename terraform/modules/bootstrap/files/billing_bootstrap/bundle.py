# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The bundle: fetched, verified, unpacked."""

import contextlib
import hashlib
import http.client
import io
import os
import shutil
import subprocess
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .host import AWS_SECONDS, MEBIBYTE, NotReadyError, WaitingError, aws, sync_folder

BUNDLE_LIMIT = 256 * MEBIBYTE
_DOWNLOAD_SECONDS = 60.0


def ensure_bundle(bundle: dict[str, str], region: "str | None", bundles: Path, limit: int = BUNDLE_LIMIT) -> Path:
    """Have the collections with this checksum unpacked, and no others; return their folder."""
    sha256 = bundle["sha256"]
    folder = bundles / sha256
    bundles.mkdir(parents=True, exist_ok=True)
    for other in bundles.iterdir():
        if other != folder:
            shutil.rmtree(other) if other.is_dir() else other.unlink()
    if folder.is_dir():
        return folder
    archive, new = bundles / f"{sha256}.tar.gz", bundles / f"{sha256}.new"
    with archive.open("wb") as file:
        found = _copy(bundle["url"], region, file, limit)
    if found != sha256:
        archive.unlink()
        raise NotReadyError(
            f"{bundle['url']} has the checksum {found}, not {sha256}: it was not unpacked. "
            "Publish the right bundle there, or give its checksum to Terraform"
        )
    _unpack(archive, new, bundle["url"])
    archive.unlink()
    os.sync()
    new.rename(folder)
    sync_folder(bundles)
    return folder


def _copy(url: str, region: "str | None", to: BinaryIO, limit: int) -> str:
    """Fetch a file of at most `limit` bytes; return its SHA-256."""
    digest, size = hashlib.sha256(), 0
    with _open(url, region) as source:
        while chunk := source.read(MEBIBYTE):
            size += len(chunk)
            if size > limit:
                raise NotReadyError(f"{url} is larger than {limit // MEBIBYTE} MiB: that is no bundle")
            digest.update(chunk)
            try:
                to.write(chunk)
            except OSError as error:
                raise NotReadyError(f"the bundle cannot be written: {error.strerror}; free some space") from error
    return digest.hexdigest()


@contextlib.contextmanager
def _open(url: str, region: "str | None") -> "Iterator[Any]":
    if url.startswith("s3://"):
        with subprocess.Popen(
            aws("s3", "cp", url, "-", "--no-progress", region=region), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            try:
                yield process.stdout
                said = (process.stderr or io.BytesIO()).read().decode(errors="replace").strip()
                if process.wait(timeout=AWS_SECONDS) != 0:
                    raise WaitingError(f"{url} cannot be fetched: {said[-500:]}")
            finally:
                process.kill()
        return
    try:
        with urllib.request.urlopen(url, timeout=_DOWNLOAD_SECONDS) as answer:  # noqa: S310 (Terraform admits https alone)
            yield answer
    except urllib.error.HTTPError as error:
        raise WaitingError(f"{url} answered {error.code}: publish the bundle there") from error
    except (OSError, http.client.HTTPException) as error:
        raise WaitingError(f"{url} cannot be fetched: {getattr(error, 'reason', error)}") from error


def _unpack(archive: Path, folder: Path, url: str) -> None:
    """Unpack files and folders, none of them outside of the folder, none with an owner or a device of its own."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise NotReadyError(f"{url} cannot be unpacked: {error}") from error
    if not (folder / "ansible_collections").is_dir():
        raise NotReadyError(
            f"{url} is no bundle: ansible_collections/ is missing; "
            "build one with `ansible-playbook billing.infrastructure.bundle`"
        )
