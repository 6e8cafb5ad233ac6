# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve an image reference to a digest with one HEAD request (OCI distribution specification 1.1)."""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from .release import DIGEST, Reference, RolloutError

_ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_DOCKER_HUB = "https://registry-1.docker.io"
_INSECURE = "insecure+"  # Marks an endpoint whose certificate is not checked.
_ATTEMPTS = 3  # A registry behind a load balancer drops a connection now and then; more would hide an outage.


@dataclass(frozen=True)
class RegistryFiles:
    """Where the Docker client and daemon keep what a registry needs; the engine reads the same files."""

    config: Path = Path("/root/.docker/config.json")
    certs: Path = Path("/etc/docker/certs.d")
    daemon: Path = Path("/etc/docker/daemon.json")


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
        timeout: seconds for each request.
        sleep: waits between attempts.

    Raises:
        RolloutError: image_unknown, registry_unauthorized, registry_throttled, registry_unreachable, registry_invalid.
    """
    if reference.digest:
        return reference.digest
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _ask(reference, files, timeout)
        except RolloutError as error:  # noqa: PERF203 - the loop is the retry
            if error.code != "registry_unreachable" or attempt == _ATTEMPTS:
                raise
            sleep(float(attempt))
    raise AssertionError("unreachable: the last attempt returns or raises")


def _ask(reference: Reference, files: RegistryFiles, timeout: float) -> str:
    """Ask the endpoints in Docker's own order; the next one only where one is away or, as a mirror, lacks the image."""
    *mirrors, last = _endpoints(reference.registry, _read_json(files.daemon))
    for endpoint in mirrors:
        try:
            return _Session(reference, files, endpoint, timeout).digest()
        except RolloutError as error:  # noqa: PERF203 - the loop goes from mirror to mirror
            if error.code not in ("registry_unreachable", "image_unknown"):
                raise
    return _Session(reference, files, last, timeout).digest()


def _endpoints(registry: str, daemon: Mapping[str, Any]) -> list[str]:
    """Return the base URLs of a registry; an insecure one is asked by TLS first, as Docker does it."""
    if registry == "docker.io":
        return [*(str(mirror).rstrip("/") for mirror in daemon.get("registry-mirrors", [])), _DOCKER_HUB]
    if registry in daemon.get("insecure-registries", []):
        return [f"{_INSECURE}https://{registry}", f"http://{registry}"]
    return [f"https://{registry}"]


class _Session:
    """The requests of one resolution: they share the TLS context and the credentials."""

    def __init__(self, reference: Reference, files: RegistryFiles, endpoint: str, timeout: float) -> None:
        self.reference = reference
        self.timeout = timeout
        base = endpoint[len(_INSECURE) :] if endpoint.startswith(_INSECURE) else endpoint
        host = urllib.parse.urlsplit(base).netloc
        name = reference.registry if base == _DOCKER_HUB else host
        self.url = f"{base}/v2/{reference.repository}/manifests/{reference.tag}"
        tls = ssl.create_default_context()
        for authority in sorted((files.certs / host).glob("*.crt")):
            tls.load_verify_locations(cafile=str(authority))
        if endpoint != base:
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        self.opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=tls))
        self.basic = credentials(name, files.config)

    def digest(self) -> str:
        """Ask for the manifest; answer a challenge once."""
        try:
            headers = self._request("HEAD", self.url, {})[0]
        except urllib.error.HTTPError as error:
            if error.code != 401:
                raise self._failure(error) from error
            try:
                headers = self._request("HEAD", self.url, self._answer(error.headers.get("WWW-Authenticate", "")))[0]
            except urllib.error.HTTPError as second:
                raise self._failure(second) from second
        digest = headers.get("Docker-Content-Digest", "")
        if DIGEST.fullmatch(digest) is None:
            raise RolloutError(
                "registry_invalid",
                f"{self.reference.registry} answered for {self.reference} without a Docker-Content-Digest header; "
                "is this a registry that speaks the distribution API v2?",
                {"image": str(self.reference), "header": digest},
            )
        return digest

    def _request(self, method: str, url: str, headers: Mapping[str, str]) -> tuple[Mapping[str, str], bytes]:
        try:
            if not url.startswith(("https://", "http://")):  # The realm of a token comes from the registry.
                raise ValueError(f"{url!r} is not a URL of a registry")
            request = urllib.request.Request(url, method=method, headers={"Accept": _ACCEPT, **headers})  # noqa: S310
            with self.opener.open(request, timeout=self.timeout) as response:
                return response.headers, response.read(1 << 20)
        except urllib.error.HTTPError:
            raise
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            hint = (
                f"give its CA certificate as /etc/docker/certs.d/{self.reference.registry}/ca.crt (role docker does it)"
                if isinstance(reason, ssl.SSLCertVerificationError)
                else "check that the registry is up and that this host can reach it"
            )
            raise RolloutError(
                "registry_unreachable",
                f"cannot ask {self.reference.registry} for {self.reference}: {reason}; {hint}",
                {"image": str(self.reference), "url": url},
            ) from error

    def _answer(self, challenge: str) -> dict[str, str]:
        scheme, _space, rest = challenge.partition(" ")
        basic = {"Authorization": f"Basic {self.basic}"} if self.basic else {}
        if scheme.lower() != "bearer":
            return basic
        values = dict(_CHALLENGE.findall(rest))
        query = urllib.parse.urlencode(
            {
                "service": values.get("service", ""),
                "scope": values.get("scope") or f"repository:{self.reference.repository}:pull",
            }
        )
        answer = self._request("GET", f"{values.get('realm', '')}?{query}", basic)[1]
        try:
            body = json.loads(answer)
            token = body.get("token") or body["access_token"]
        except (ValueError, KeyError, AttributeError) as error:
            raise RolloutError(
                "registry_invalid",
                f"the token server of {self.reference.registry} gave no token for {self.reference}; check its address",
                {"realm": values.get("realm", "")},
            ) from error
        return {"Authorization": f"Bearer {token}"}

    def _failure(self, error: urllib.error.HTTPError) -> RolloutError:
        details = {"image": str(self.reference), "status": error.code}
        registry = self.reference.registry
        if error.code == 404:
            return RolloutError(
                "image_unknown", f"{registry} has no image {self.reference}; check name and tag, or push it", details
            )
        if error.code in (401, 403):
            return RolloutError(
                "registry_unauthorized",
                f"{registry} refused access to {self.reference} (HTTP {error.code}); "
                "check the user name and password for it in docker_registries",
                details,
            )
        if error.code == 429:
            details["retry_after"] = error.headers.get("Retry-After", "")
            return RolloutError("registry_throttled", f"{registry} asks to wait before the next request", details)
        return RolloutError(
            "registry_unreachable",
            f"{registry} answered HTTP {error.code} for {self.reference}; check the registry",
            details,
        )


def credentials(registry: str, config: Path) -> str:
    """Return the Basic credentials for a registry from Docker's config.json or its credential helper, '' for none."""
    content = _read_json(config)
    key = "https://index.docker.io/v1/" if registry == "docker.io" else registry
    helper = content.get("credHelpers", {}).get(key) or content.get("credsStore")
    if helper:
        return _ask_helper(str(helper), key)
    return str(content.get("auths", {}).get(key, {}).get("auth", ""))


def _ask_helper(helper: str, key: str) -> str:
    try:
        answer = subprocess.run(  # pylint: disable=ansible-bad-function
            [f"docker-credential-{helper}", "get"], input=key, capture_output=True, text=True, timeout=10, check=True
        )
        values = json.loads(answer.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise RolloutError(
            "registry_unauthorized",
            f"the credential helper docker-credential-{helper} gave nothing for {key}; run it by hand to see why",
            {"helper": helper},
        ) from error
    return base64.b64encode(f"{values['Username']}:{values['Secret']}".encode()).decode()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise RolloutError("config_invalid", f"{path} is not valid JSON: {error}; repair or remove it") from error
    return content if isinstance(content, dict) else {}
