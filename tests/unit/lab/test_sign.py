# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""A signature of the lab stands where cosign looks for it, names the digest, and fits the public key."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.lab.push import Client
from tests.lab.registry import Registry
from tests.lab.shell import run
from tests.lab.sign import ensure_signing_key, sign

DIGEST = "sha256:" + "b" * 64


def test_a_signature_is_beside_the_image_and_fits_the_public_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs: dict[str, bytes] = {}
    tags: dict[str, Mapping[str, Any]] = {}

    def put_blob(_self: Client, _repository: str, content: bytes, media_type: str) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        blobs[digest] = content
        return {"mediaType": media_type, "size": len(content), "digest": digest}

    monkeypatch.setattr(Client, "put_blob", put_blob)
    monkeypatch.setattr(Client, "put_manifest", lambda _self, name, tag, body: tags.update({f"{name}:{tag}": body}))
    key, public = ensure_signing_key(tmp_path)
    sign(Registry("unit", tmp_path, "192.0.2.2"), "billing-api", DIGEST, key)

    (layer,) = tags[f"billing-api:sha256-{'b' * 64}.sig"]["layers"]
    payload = blobs[layer["digest"]]
    assert json.loads(payload)["critical"]["image"] == {"docker-manifest-digest": DIGEST}
    (tmp_path / "public.pem").write_text(public)
    (tmp_path / "signature").write_bytes(base64.b64decode(layer["annotations"]["dev.cosignproject.cosign/signature"]))
    command = ["openssl", "dgst", "-sha256", "-verify", str(tmp_path / "public.pem")]
    run([*command, "-signature", str(tmp_path / "signature")], input_text=payload.decode())


def test_a_key_is_made_once_and_each_name_has_its_own(tmp_path: Path) -> None:
    first = ensure_signing_key(tmp_path)
    assert ensure_signing_key(tmp_path) == first
    assert ensure_signing_key(tmp_path, "other")[1] != first[1]
    assert first[0].stat().st_mode & 0o777 == 0o600
