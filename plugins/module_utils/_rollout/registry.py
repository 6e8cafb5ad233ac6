# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine asks a registry: the digest behind a reference by one HEAD, and facts about an image before a pull.

Source: OCI distribution specification 1.1 and OCI image specification 1.1.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, TypeVar

from .registry_http import DOCKER_HUB, INSECURE, LONGEST_WAIT, Deadline, RegistryFiles, Session, TransientError
from .registry_login import read_json
from .release import DIGEST, Reference, RolloutError

__all__ = ["ImageFacts", "RegistryFiles", "describe", "docker_architecture", "resolve"]

_Result = TypeVar("_Result")
_ATTEMPTS = 3  # A registry behind a load balancer drops a connection now and then; more would hide an outage.
# What uname calls a machine, and what Docker calls it: github.com/containerd/platforms, database.go.
_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv8l": "arm/v7",  # A 64-bit processor under a 32-bit system.
    "armv7l": "arm/v7",
    "armv6l": "arm/v6",
    "i386": "386",
    "i686": "386",
    "loongarch64": "loong64",
}


@dataclass(frozen=True)
class ImageFacts:
    """What is known about an image without pulling it.

    Attributes:
        size: bytes of all its layers as they are transferred; unpacked they are more.
        entrypoint: what its containers run, () where the image does not say.
        command: arguments to it, or the command itself where there is no entrypoint.
        created: when it was built, RFC 3339, '' where the image does not say.
    """

    size: int
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    created: str


def docker_architecture(machine: str) -> str:
    """Return Docker's name (`amd64`, `arm/v7`...) for what `platform.machine()` or `uname -m` says."""
    return _ARCHITECTURES.get(machine.lower(), machine.lower())


def resolve(
    reference: Reference,
    files: RegistryFiles,
    timeout: float = 10.0,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Return the digest behind a reference; a reference that names one is not looked up.

    Args:
        reference: what to look up.
        files: credentials, certificate authorities and insecure registries.
        timeout: seconds for each request; all of them with their waits take at most three times as long.
        sleep: waits between attempts.

    Raises:
        RolloutError: image_unknown, registry_unauthorized, registry_throttled (details.retry_after in seconds),
            registry_unreachable, registry_invalid, config_invalid.
    """
    if reference.digest:
        return reference.digest

    def ask(session: Session) -> str:
        headers = session.ask("HEAD", f"manifests/{reference.tag}").headers
        digest = str(headers.get("Docker-Content-Digest", ""))
        if DIGEST.fullmatch(digest) is None:
            raise RolloutError(
                "registry_invalid",
                f"{reference.registry} answered for {reference} without a Docker-Content-Digest that is a SHA-256; "
                "is this a registry that speaks the distribution API v2?",
                {"image": str(reference), "header": digest},
            )
        return digest

    return _ask(reference, str(reference), files, ask, timeout, sleep)


def describe(
    reference: Reference,
    digest: str,
    files: RegistryFiles,
    architecture: str,
    timeout: float = 10.0,
    sleep: Callable[[float], None] = time.sleep,
) -> ImageFacts:
    """Return the facts about an image as this architecture would run it; nothing is pulled.

    Everything is fetched by digest and verified against it.

    Args:
        reference: registry and repository to ask.
        digest: manifest or multi-platform index, `sha256:...`.
        files: credentials, certificate authorities and insecure registries.
        architecture: Docker's name for it; see `docker_architecture`.
        timeout: seconds for each request; all of them with their waits take at most three times as long.
        sleep: waits between attempts.

    Raises:
        RolloutError: digest_mismatch, platform_missing (details.platforms: those that exist), and those of `resolve`.
    """
    image = reference.at(digest)

    def ask(session: Session) -> ImageFacts:
        try:
            manifest = _fetch(session, "manifests", digest)
            if "manifests" in manifest:
                manifest = _fetch(session, "manifests", _choose(image, manifest["manifests"], architecture))
            config = _fetch(session, "blobs", manifest["config"]["digest"])
            # The variant is left to the index: many builders do not note it here.
            built = {"digest": digest, "platform": {key: config.get(key) for key in ("os", "architecture")}}
            _choose(image, [built], architecture.partition("/")[0])
            inner = config.get("config") or {}
            layers = {layer["digest"]: int(layer["size"]) for layer in manifest["layers"]}
            return ImageFacts(
                size=sum(layers.values()),
                entrypoint=tuple(inner.get("Entrypoint") or ()),
                command=tuple(inner.get("Cmd") or ()),
                created=str(config.get("created") or ""),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RolloutError(
                "registry_invalid",
                f"{image} is no image that Docker can run ({type(error).__name__}: {error}); build and push it anew",
                {"image": image},
            ) from error

    return _ask(reference, image, files, ask, timeout, sleep)


def _ask(
    reference: Reference,
    image: str,
    files: RegistryFiles,
    question: Callable[[Session], _Result],
    timeout: float,
    sleep: Callable[[float], None],
) -> _Result:
    """Put a question to a registry until it is answered, or the failure is final, or the time is up."""
    deadline = Deadline(timeout)
    throttled = False
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _ask_endpoints(reference, image, files, question, deadline)
        except TransientError as error:  # noqa: PERF203 - the loop is the retry
            wait = float(attempt) if error.wait is None else error.wait
            again = attempt < _ATTEMPTS and not (throttled and error.code == "registry_throttled")
            if not again or wait > min(LONGEST_WAIT, deadline.left):
                raise
            throttled = throttled or error.code == "registry_throttled"
            sleep(wait)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _ask_endpoints(
    reference: Reference,
    image: str,
    files: RegistryFiles,
    question: Callable[[Session], _Result],
    deadline: Deadline,
) -> _Result:
    """Ask the endpoints in Docker's own order; the next one only where one is away or, as a mirror, lacks the image."""
    *mirrors, last = _endpoints(reference.registry, read_json(files.daemon))
    for endpoint in mirrors:
        try:
            return question(Session(reference, image, files, endpoint, deadline))
        except RolloutError as error:  # noqa: PERF203 - the loop goes from mirror to mirror
            if error.code not in ("registry_unreachable", "registry_throttled", "image_unknown"):
                raise
    return question(Session(reference, image, files, last, deadline))


def _endpoints(registry: str, daemon: Mapping[str, Any]) -> list[str]:
    """Return the base URLs of a registry; an insecure one is asked by TLS first, as Docker does it."""
    if registry == "docker.io":
        return [*(str(mirror).rstrip("/") for mirror in daemon.get("registry-mirrors", [])), DOCKER_HUB]
    if registry in daemon.get("insecure-registries", []):
        return [f"{INSECURE}https://{registry}", f"http://{registry}"]
    return [f"https://{registry}"]


def _fetch(session: Session, kind: str, digest: str) -> dict[str, Any]:
    """Return a JSON document of the repository, proven to be the one with this digest."""
    if DIGEST.fullmatch(digest) is None:
        raise ValueError(f"{digest!r} is not a digest")
    body = session.ask("GET", f"{kind}/{digest}").body
    found = f"sha256:{hashlib.sha256(body).hexdigest()}"
    if found != digest:
        raise RolloutError(
            "digest_mismatch",
            f"{session.registry} gave other content than {session.image} names: asked for {digest}, got {found}; "
            "check the registry and any proxy before it, then push the image anew",
            {"image": session.image, "wanted": digest, "found": found},
        )
    document = json.loads(body)
    if not isinstance(document, dict):
        raise TypeError(f"{digest} is not a JSON object")
    return document


def _choose(image: str, entries: list[Mapping[str, Any]], architecture: str) -> str:
    """Return the digest of the entry that runs on linux/architecture; the one made for the newest variant of it."""
    fits: dict[int, str] = {}
    names = []
    for entry in entries:
        platform = entry.get("platform") or {}
        system, processor = platform.get("os") or "linux", platform.get("architecture") or architecture.split("/")[0]
        variant = platform.get("variant") or ""
        if system == "unknown":  # An attestation of the builder, not an image.
            continue
        names.append("/".join(filter(None, (system, processor, variant))))
        rank = _rank(processor, variant, architecture) if system == "linux" else 0
        if rank:
            fits.setdefault(rank, entry["digest"])
    if not fits:
        raise RolloutError(
            "platform_missing",
            f"{image} is not built for linux/{architecture}, only for {', '.join(names) or 'nothing'}; "
            "build and push it for this host's architecture",
            {"image": image, "wanted": f"linux/{architecture}", "platforms": names},
        )
    return fits[max(fits)]


def _rank(processor: str, variant: str, wanted: str) -> int:
    """Return how well an image fits, 0 for not at all. Source: github.com/containerd/platforms, Only()."""
    name, _slash, newest = wanted.partition("/")
    default = {"arm": "v7", "arm64": "v8", "amd64": "v1"}.get(name, "")
    version, limit = ((text or default).lstrip("v") for text in (variant, newest))
    if processor != name:
        return 0
    if version.isdigit() and limit.isdigit():
        return int(version) if int(version) <= int(limit) else 0
    return 1 if version == limit else 0
