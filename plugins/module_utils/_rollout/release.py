# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is rolled out: image references, releases, containers, and the one error every part of the engine raises."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SLOTS = ("blue", "green")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# The grammar of github.com/distribution/reference, as far as a deployment needs it.
_REFERENCE = re.compile(
    r"(?P<name>[a-z0-9A-Z][a-z0-9A-Z._:/-]*?)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")


class RolloutError(Exception):
    """A failure a person can act on.

    Args:
        code: stable word for programs, such as C(image_unknown).
        message: what happened, to what, and what to do next.
        details: facts for the reader: command, return code, reference...
        logs: the last lines of the container that failed, oldest first.
    """

    def __init__(
        self, code: str, message: str, details: Mapping[str, Any] | None = None, logs: Iterable[str] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = dict(details or {})
        self.logs = list(logs)

    def as_dict(self) -> dict[str, Any]:
        """Return the structured failure that the modules hand to Ansible."""
        return {"code": self.code, "message": self.message, "details": self.details, "logs": self.logs}


@dataclass(frozen=True)
class Reference:
    """An image reference, normalised the way Docker does it (docker.io and library/ are made explicit)."""

    registry: str
    repository: str
    tag: str
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse `[registry/]name[:tag][@sha256:...]`; raise RolloutError C(image_invalid) otherwise."""
        match = _REFERENCE.fullmatch(text)
        if match is None:
            raise _invalid(text)
        first, _slash, rest = match["name"].partition("/")
        if rest and ("." in first or ":" in first or first == "localhost"):
            registry, repository = first, rest
        else:
            registry, repository = "docker.io", match["name"]
            if "/" not in repository:
                repository = f"library/{repository}"
        if _REPOSITORY.fullmatch(repository) is None:
            raise _invalid(text)
        return cls(registry, repository, match["tag"] or ("" if match["digest"] else "latest"), match["digest"] or "")

    @property
    def name(self) -> str:
        """The reference without tag and digest."""
        return f"{self.registry}/{self.repository}"

    def at(self, digest: str) -> str:
        """The reference pinned to a digest: what is pulled and what runs."""
        return f"{self.name}@{digest}"

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def _invalid(text: str) -> RolloutError:
    return RolloutError(
        "image_invalid",
        f"'{text}' is not an image reference; write it as registry/name:tag or registry/name@sha256:<64 hex digits>",
        {"image": text},
    )


@dataclass(frozen=True)
class Release:
    """What runs: an image by digest and the hash of its configuration.

    Attributes:
        image: pinned reference, `registry/name@sha256:...`.
        config_hash: hex digest over the service's Compose fragments, env file and further files.
        addresses: slot -> `address:port` of every replica there; the fragments say the same, so it does not tell
            releases apart. Empty for a service that is not behind an upstream.
    """

    image: str
    config_hash: str
    addresses: Mapping[str, Sequence[str]] = field(default_factory=dict, compare=False)

    @property
    def digest(self) -> str:
        """The image digest, `sha256:...`."""
        return self.image.rpartition("@")[2]

    @property
    def id(self) -> str:
        """Short, stable name of the release: first 12 digits of the digest, then 8 of the configuration."""
        return f"{self.digest.partition(':')[2][:12]}-{self.config_hash[:8]}"

    def as_dict(self) -> dict[str, str]:
        """Return the release as the modules document it."""
        return {"id": self.id, "image": self.image, "digest": self.digest, "config_hash": self.config_hash}


@dataclass(frozen=True)
class Container:
    """One container as observed; `health` is '' where the image has no health check."""

    id: str
    service: str
    image: str
    config_hash: str
    state: str
    health: str
    restarts: int
    pid: int
    started_at: str

    @property
    def serving(self) -> bool:
        """Running, and healthy where it has a health check."""
        return self.state == "running" and self.health in ("", "healthy")

    @property
    def release(self) -> Release:
        """The release that it was made from."""
        return Release(self.image, self.config_hash)


def other_slot(slot: str) -> str:
    """Return the slot beside the given one; the first slot when none is live yet."""
    return SLOTS[1] if slot == SLOTS[0] else SLOTS[0]


def hash_parts(parts: Mapping[str, bytes], key: bytes) -> str:
    """Return the hex HMAC-SHA-256 over named byte strings, independent of their order.

    Keyed, because some parts hold secrets and the hash is public: without the key nobody can test a guess.
    """
    total = hmac.new(key, digestmod=hashlib.sha256)
    for name in sorted(parts):
        total.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(parts[name]).digest())
    return total.hexdigest()
