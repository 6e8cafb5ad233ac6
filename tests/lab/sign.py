# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Sign an image in the lab's registry the way `cosign sign --key ... --tlog-upload=false` does.

Made with OpenSSL, because Debian has cosign since 13 only and the lab runs on 12 too; the hosts verify with the real
one. Source of the format: specs/SIGNATURE_SPEC.md of github.com/sigstore/cosign.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

from tests.lab import keys
from tests.lab.push import MANIFEST
from tests.lab.registry import Registry
from tests.lab.shell import run, step

_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"


def ensure_signing_key(folder: Path, name: str = "signing") -> tuple[Path, str]:
    """Make a key pair without a password unless it exists.

    Args:
        folder: where ``NAME.key`` lies.
        name: another one makes another key, to sign wrongly with.

    Returns:
        Path of the private key, and the public key as PEM text: what ``api_image_public_key`` wants.
    """
    key = folder / f"{name}.key"
    if not key.exists():
        keys.make_key(key)
    return key, run(["openssl", "pkey", "-in", str(key), "-pubout"]).stdout


def sign(registry: Registry, repository: str, digest: str, key: Path) -> None:
    """Put a signature of ``REPOSITORY@DIGEST`` beside the image; it replaces those that were there.

    Args:
        registry: the lab's.
        repository: such as ``billing-api``.
        digest: what is signed, ``sha256:...``.
        key: private key.
    """
    with step(f"sign {repository}@{digest[:19]} with {key.stem}"):
        critical = {
            "identity": {"docker-reference": registry.reference(repository)},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        }
        payload = json.dumps({"critical": critical, "optional": None})
        # "EC-SHA2-256(stdin)= 3045..."
        printed = run(["openssl", "dgst", "-sha256", "-hex", "-sign", str(key)], input_text=payload).stdout
        signature = base64.b64encode(bytes.fromhex(printed.rpartition("= ")[2].strip())).decode()
        client = registry.client
        layer = client.put_blob(repository, payload.encode(), _PAYLOAD)
        layer["annotations"] = {"dev.cosignproject.cosign/signature": signature}
        config = {"rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": client.put_blob(repository, json.dumps(config).encode(), _CONFIG),
            "layers": [layer],
        }
        client.put_manifest(repository, f"{digest.replace(':', '-')}.sig", manifest)
