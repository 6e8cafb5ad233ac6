# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Speak the registry's own protocol: push an image of the local engine, make a variant of one, ask for a digest.

It takes no further tool, and neither the engine nor this machine has to trust the lab's authority.
Source of the protocol: OCI distribution specification 1.1, "Push" and "Pull".
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import ssl
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.lab.shell import LabError, run

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_CHUNK = 1 << 20


def with_environment(config: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """The configuration of an image with more environment variables; a variable that exists is replaced."""
    inner = dict(config.get("config") or {})
    kept = [entry for entry in inner.get("Env") or [] if entry.split("=", 1)[0] not in environment]
    inner["Env"] = kept + [f"{key}={value}" for key, value in environment.items()]
    return {**config, "config": inner}


@dataclass(frozen=True)
class Client:
    """A registry over TLS with basic authentication."""

    address: str
    port: int
    authority: Path
    user: str
    password: str

    def digest(self, repository: str, tag: str) -> str | None:
        """The digest behind a tag, or None where there is none."""
        status, headers, _body = self._request(
            "HEAD", f"/v2/{repository}/manifests/{tag}", headers={"Accept": MANIFEST}
        )
        return headers["Docker-Content-Digest"] if status == 200 else None

    def push(self, image: str, repository: str, tag: str) -> tuple[str, bool]:
        """Push an image of the local engine; return its digest and whether anything had to be sent."""
        identifier = run(["docker", "image", "inspect", "--format", "{{.Id}}", image]).stdout.strip()
        found = self.manifest(repository, tag)
        if found is not None and found["config"]["digest"] == identifier:
            return str(self.digest(repository, tag)), False
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as save:
            assert save.stdout is not None
            manifest = self._push_archive(save.stdout, repository)
            save.stdout.close()
            if save.wait() != 0:
                raise LabError(f"docker save {image} failed")
        return self.put_manifest(repository, tag, manifest), True

    def push_variant(self, repository: str, source: str, tag: str, environment: Mapping[str, str]) -> str:
        """Publish ``repository:source`` once more as ``tag``, with more environment variables; return the digest."""
        manifest = self.manifest(repository, source)
        if manifest is None:
            raise LabError(f"{repository}:{source} is not in the registry: push it first")
        status, _headers, body = self._request("GET", f"/v2/{repository}/blobs/{manifest['config']['digest']}")
        _expect(status, 200, f"read the configuration of {repository}:{source}", body)
        config = json.dumps(with_environment(json.loads(body), environment)).encode()
        manifest["config"] = self.put_blob(repository, config, _CONFIG)
        return self.put_manifest(repository, tag, manifest)

    def manifest(self, repository: str, tag: str) -> dict[str, Any] | None:
        """The manifest behind a tag, or None where there is none."""
        status, _headers, body = self._request("GET", f"/v2/{repository}/manifests/{tag}", headers={"Accept": MANIFEST})
        if status == 404:
            return None
        _expect(status, 200, f"read {repository}:{tag}", body)
        result: dict[str, Any] = json.loads(body)
        return result

    def put_blob(self, repository: str, content: bytes, media_type: str) -> dict[str, Any]:
        """Upload content and return its descriptor, as a manifest names it."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self._upload(repository, digest, len(content), content)
        return {"mediaType": media_type, "size": len(content), "digest": digest}

    def put_manifest(self, repository: str, tag: str, manifest: Mapping[str, Any]) -> str:
        """Point a tag at a manifest and return its digest."""
        body = json.dumps(manifest).encode()
        path = f"/v2/{repository}/manifests/{tag}"
        status, headers, answer = self._request("PUT", path, body, {"Content-Type": MANIFEST})
        _expect(status, 201, f"write {repository}:{tag}", answer)
        return headers["Docker-Content-Digest"]

    def delete(self, repository: str, digest: str) -> None:
        """Delete a manifest: every tag that points at it is gone."""
        status, _headers, body = self._request("DELETE", f"/v2/{repository}/manifests/{digest}")
        _expect(status, 202, f"delete {repository}@{digest}", body)

    def ready(self) -> bool:
        """Whether the registry answers and accepts the password."""
        try:
            return self._request("GET", "/v2/")[0] == 200
        except OSError:
            return False

    def _push_archive(self, stream: IO[bytes], repository: str) -> dict[str, Any]:
        """Read what ``docker save`` writes and push each part; a layer that is there already is not sent again."""
        with tempfile.TemporaryFile() as spool:
            while chunk := stream.read(_CHUNK):
                spool.write(chunk)
            spool.seek(0)
            with tarfile.open(fileobj=spool) as archive:
                described = json.loads(_member(archive, "manifest.json").read())[0]
                config = _member(archive, described["Config"]).read()
                layers = [self._put_layer(repository, _member(archive, name)) for name in described["Layers"]]
        return {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.put_blob(repository, config, _CONFIG),
            "layers": layers,
        }

    def _put_layer(self, repository: str, layer: IO[bytes]) -> dict[str, Any]:
        """Push a layer as the engine gives it: unpacked saves more processor time than it costs on a local network."""
        packed = layer.read(2) == b"\x1f\x8b"
        layer.seek(0)
        hasher, size = hashlib.sha256(), 0
        while chunk := layer.read(_CHUNK):
            hasher.update(chunk)
            size += len(chunk)
        layer.seek(0)
        digest = f"sha256:{hasher.hexdigest()}"
        self._upload(repository, digest, size, layer)
        return {"mediaType": _LAYER + (".gzip" if packed else ""), "size": size, "digest": digest}

    def _upload(self, repository: str, digest: str, size: int, content: bytes | IO[bytes]) -> None:
        if self._request("HEAD", f"/v2/{repository}/blobs/{digest}")[0] == 200:
            return
        status, headers, body = self._request("POST", f"/v2/{repository}/blobs/uploads/")
        _expect(status, 202, f"start an upload to {repository}", body)
        place = headers["Location"]
        place += f"{'&' if '?' in place else '?'}digest={digest}"
        more = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        status, _headers, body = self._request("PUT", place, content, more)
        _expect(status, 201, f"upload {digest} to {repository}", body)

    def _request(
        self, method: str, path: str, body: bytes | IO[bytes] | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        trust = ssl.create_default_context(cafile=str(self.authority))
        connection = http.client.HTTPSConnection(self.address, self.port, context=trust, timeout=60)
        login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        try:
            connection.request(method, path, body, {"Authorization": f"Basic {login}", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    file = archive.extractfile(name)
    if file is None:
        raise LabError(f"what docker save wrote has no {name}")
    return file


def _expect(status: int, wanted: int, what: str, body: bytes) -> None:
    if status != wanted:
        raise LabError(f"the registry refused to {what}: {status} {body.decode(errors='replace')[:500]}")
