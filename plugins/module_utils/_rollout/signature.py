# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only file that runs `cosign`: prove that an image digest was signed with a key, before anything is pulled.

Nothing but the registry is asked: no transparency log, no Fulcio, no TUF. Whatever is not a proof is a failure.
Sources: cosign 2.5 and 3.1, tried; its exit codes are in cmd/cosign/errors/exit_codes.go of github.com/sigstore/cosign.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import os
import pwd
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .docker import cause
from .registry_http import RegistryFiles
from .registry_login import read_json
from .release import Reference, RolloutError

_UNSIGNED, _MISMATCH = 10, 12  # Exit codes of cosign.
_PEM = re.compile(r"\s*-----BEGIN PUBLIC KEY-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END PUBLIC KEY-----\s*")
# How cosign's registry client begins what a registry, or the way to it, has refused.
_ASKED = re.compile(r'\b(?:GET|HEAD) "?https?://', re.IGNORECASE)
_AWAY = ("registry_unreachable", "check that the registry is up and that this host can reach it")
_REFUSED = ("registry_unauthorized", "check the user name and password for it in docker_registries")
_UNKNOWN = ("cosign_failed", "run 'cosign verify' by hand to see why")
_INHERITED = ("PATH", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def fingerprint(key: Path) -> str:
    """Return the hex SHA-256 of a public key itself (DER), whatever the layout of its file.

    Raises:
        RolloutError: key_invalid.
    """
    try:
        match = _PEM.fullmatch(key.read_text(encoding="ascii"))
        if match is None:
            raise _key_invalid(key, "it holds no single '-----BEGIN PUBLIC KEY-----' block")
        return hashlib.sha256(base64.b64decode("".join(match[1].split()), validate=True)).hexdigest()
    except (OSError, UnicodeDecodeError, binascii.Error) as error:
        raise _key_invalid(key, str(error)) from error


def verify(image: str, key: Path, files: RegistryFiles, timeout: float = 60.0) -> None:
    """Return if the digest of a pinned reference is signed with a key; raise otherwise.

    Args:
        image: `registry/name@sha256:...`.
        key: file with the public key (PEM).
        files: credentials, certificate authorities and insecure registries.
        timeout: seconds for all of it.

    Raises:
        RolloutError: about the image signature_missing and signature_invalid; about this host cosign_missing,
            cosign_failed and key_invalid; passing registry_unreachable and others that `docker.cause` knows.
    """
    fingerprint(key)  # cosign names a key that is none less clearly.
    reference = Reference.parse(image)
    command = ["cosign", "verify", "--key", str(key), "--insecure-ignore-tlog=true", "--output=json"]
    if reference.registry in read_json(files.daemon).get("insecure-registries", []):
        command += ["--allow-insecure-registry=true", "--allow-http-registry=true"]
    with _authorities(files.certs / reference.registry) as trusted:
        done = _run([*command, image], {"DOCKER_CONFIG": str(files.config.parent), **trusted}, image, timeout)
    if done.returncode != 0:
        raise _failure(image, key, done)
    if _digests(done.stdout) != {reference.digest}:
        raise RolloutError(
            "signature_invalid",
            f"cosign calls {image} signed, but does not say so of this very digest; sign it anew, or update cosign",
            {"image": image, "stdout": done.stdout[-2000:]},
        )


def _run(
    command: Sequence[str], more: Mapping[str, str], image: str, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run cosign with an environment of its own: a variable such as COSIGN_REPOSITORY would lead it elsewhere."""
    inherited = {name: value for name, value in os.environ.items() if name.upper() in _INHERITED}
    try:
        return subprocess.run(  # pylint: disable=ansible-bad-function
            command,
            env={**inherited, "HOME": pwd.getpwuid(os.getuid()).pw_dir, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        code, advice = _AWAY
        raise RolloutError(
            code,
            f"the signature of {image} was not read in {timeout:.0f} s; {advice}",
            {"image": image, "command": list(command)},
        ) from error
    except OSError as error:
        raise RolloutError(
            "cosign_missing",
            f"cannot check the signature of {image}: cosign does not run on this host ({error.strerror}); install it "
            "(role api does, by the distribution's package or from api_cosign_url)",
            {"image": image},
        ) from error


@contextlib.contextmanager
def _authorities(folder: Path) -> Iterator[dict[str, str]]:
    """Give the variable by which cosign trusts a registry's own authorities beside those of the system.

    Go reads the file that SSL_CERT_FILE names and /etc/ssl/certs too; with --registry-cacert it trusts that file alone.
    """
    found = [authority.read_bytes() for authority in sorted(folder.glob("*.crt"))]
    if not found:
        yield {}
        return
    with tempfile.NamedTemporaryFile(suffix=".crt") as bundle:
        bundle.write(b"\n".join(found))
        bundle.flush()
        yield {"SSL_CERT_FILE": bundle.name}


def _digests(output: str) -> set[str]:
    """Return the digests that the proven signatures stand for, none where cosign's answer is not understood."""
    try:
        return {str(payload["critical"]["image"]["docker-manifest-digest"]) for payload in json.loads(output)}
    except (ValueError, KeyError, TypeError):
        return set()


def _failure(image: str, key: Path, done: subprocess.CompletedProcess[str]) -> RolloutError:
    said = done.stderr.strip()
    last = said.splitlines()[-1] if said else f"return code {done.returncode}"
    reason = last.replace("error during command execution: ", "")
    details = {"image": image, "key": str(key), "rc": done.returncode, "stderr": said[-2000:]}
    if done.returncode == _UNSIGNED:
        return RolloutError(
            "signature_missing",
            f"{image} is not signed, and only signed images may run; sign it before its tag moves: cosign sign --key "
            "... (cosign 2 does not see what cosign 3 signs without --new-bundle-format=false)",
            details,
        )
    if done.returncode == _MISMATCH or "no matching attestations" in said:  # So cosign 3 calls its own signatures.
        return RolloutError(
            "signature_invalid",
            f"no signature of {image} fits the key {key}: {reason}; sign it with the key that belongs to it",
            details,
        )
    if "pem to public key" in said:
        return _key_invalid(key, reason)
    known = cause(said)
    if known is None and _ASKED.search(said):
        known = _REFUSED if "403 Forbidden" in said or "DENIED" in said else _AWAY
    code, advice = known or _UNKNOWN
    return RolloutError(code, f"cannot check the signature of {image}: {reason}; {advice}", details)


def _key_invalid(key: Path, reason: str) -> RolloutError:
    return RolloutError(
        "key_invalid",
        f"{key} is no public key that cosign can use: {reason}; give its PEM text as api_image_public_key and run role "
        "api",
        {"key": str(key)},
    )
