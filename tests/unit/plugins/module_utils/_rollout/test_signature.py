# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Only what cosign proves to be signed with the key passes; every other answer has its own reason."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from plugins.module_utils._rollout.intent import Intent
from plugins.module_utils._rollout.registry import RegistryFiles
from plugins.module_utils._rollout.release import RolloutError
from plugins.module_utils._rollout.signature import fingerprint, verify

from .http_registry import basic

DIGEST = "sha256:" + "b" * 64
REGISTRY = "r.example:5000"
IMAGE = f"{REGISTRY}/billing-api@{DIGEST}"
# Made by cosign generate-key-pair; the fingerprint is that of `openssl pkey -pubin -outform DER | sha256sum`.
BODY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEQCEEShzbgykKva5bFCEic2//uenV",
    "W6dxDyxkb41/kM8/WUEYeoJBOlpg13bUbd4SjpscTZarlDH0fTXfl5FxFg==",
)
BEGIN, END = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"
KEY = f"{BEGIN}\n{BODY[0]}\n{BODY[1]}\n{END}\n"
FINGERPRINT = "01b50d98583ff0e81fae91e0928debaecffb491bc00c2c7a73047e4560271b26"
SIGNED = '\n[{{"critical":{{"image":{{"docker-manifest-digest":"{0}"}},"type":"x"}},"optional":null}}]\n'
GET = f"GET https://{REGISTRY}/v2/billing-api/manifests/sha256-{'b' * 64}.sig"
DIAL = f'Get "https://{REGISTRY}/v2/": dial tcp'


class Cosign:
    """A command of that name that answers as a test wants and keeps how it was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "api.pub"
        self.key.write_text(KEY)
        self.files = RegistryFiles(folder / "docker" / "config.json", folder / "certs.d", folder / "daemon.json")

    def answers(self, stdout: str = "", stderr: str = "", code: int = 0, then: str = "") -> None:
        (self.folder / "stdout").write_text(stdout)
        (self.folder / "stderr").write_text(stderr)
        script = (
            "#!/bin/sh",
            f"cd {self.folder}",
            'printf "%s\\n" "$@" > arguments',
            "env > environment",
            'test -z "$SSL_CERT_FILE" || cat "$SSL_CERT_FILE" > trusted',
            then,
            "cat stdout; cat stderr >&2",
            f"exit {code}",
        )
        command = self.folder / "bin" / "cosign"
        command.parent.mkdir(exist_ok=True)
        command.write_text("\n".join(script))
        command.chmod(0o755)

    def verify(self, timeout: float = 20.0) -> None:
        verify(IMAGE, self.key, self.files, timeout)

    def failure(self, timeout: float = 20.0) -> RolloutError:
        with pytest.raises(RolloutError) as raised:
            self.verify(timeout)
        return raised.value

    @property
    def called(self) -> bool:
        return (self.folder / "arguments").exists()

    @property
    def arguments(self) -> list[str]:
        return (self.folder / "arguments").read_text().splitlines()

    @property
    def environment(self) -> dict[str, str]:
        lines = (self.folder / "environment").read_text().splitlines()
        return {name: value for name, _equals, value in (line.partition("=") for line in lines)}


@pytest.fixture
def cosign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cosign:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    return Cosign(tmp_path)


def test_a_digest_signed_with_the_key_passes_and_only_the_registry_is_asked(cosign: Cosign) -> None:
    cosign.answers(SIGNED.format(DIGEST))
    cosign.verify()
    assert cosign.arguments == [
        *("verify", "--key", str(cosign.key), "--insecure-ignore-tlog=true", "--output=json"),
        IMAGE,
    ]


# What cosign 2.5 and 3.1 say, tried against a registry.
@pytest.mark.parametrize(
    ("code", "said", "wanted"),
    [
        (10, "no signatures found", "signature_missing"),
        (12, "no matching signatures: invalid signature when validating ASN.1 encoded signature", "signature_invalid"),
        (12, f"no matching signatures: invalid or missing digest in claim: sha256:{'a' * 64}", "signature_invalid"),
        (1, "no matching attestations: failed to verify signature: could not verify envelope", "signature_invalid"),
        (1, "loading public key: pem to public key: asn1: structure error", "key_invalid"),
        (1, f"{DIAL} 192.0.2.1:5000: connect: connection refused", "registry_unreachable"),
        (1, f"{DIAL}: lookup r.example on 192.0.2.53:53: no such host", "registry_unreachable"),
        (1, f'Get "https://{REGISTRY}/v2/": tls: failed to verify certificate: x509: unknown', "registry_unreachable"),
        (1, f"{GET}: unexpected status code 503 Service Unavailable", "registry_unreachable"),
        (1, f"{GET}: unexpected status code 429 Too Many Requests", "registry_unreachable"),
        (1, f"{GET}: UNAUTHORIZED: authentication required; [map[Action:pull]]", "registry_unauthorized"),
        (1, f"{GET}: unexpected status code 401 Unauthorized", "registry_unauthorized"),
        (1, f"{GET}: unexpected status code 403 Forbidden", "registry_unauthorized"),
        (1, f"{GET}: DENIED: requested access to the resource is denied", "registry_unauthorized"),
        (1, "something that nobody knows", "cosign_failed"),
        (3, "", "cosign_failed"),
    ],
)
def test_every_refusal_has_its_reason(cosign: Cosign, code: int, said: str, wanted: str) -> None:
    # A proof on standard output does not count then.
    lines = f"WARNING: Skipping tlog verification\nError: {said}\nerror during command execution: {said}\n"
    cosign.answers(SIGNED.format(DIGEST), lines if said else "", code)
    error = cosign.failure()
    assert error.code == wanted
    assert error.details.get("rc", code) == code
    assert said in error.message or wanted == "signature_missing"


@pytest.mark.parametrize(
    "stdout",
    [
        "",
        "[]",
        "null",
        "signed",
        "[1]",
        '[{"critical":{}}]',
        '{"critical":{"image":{"docker-manifest-digest":"' + DIGEST + '"}}}',
        SIGNED.format("sha256:" + "a" * 64),
        json.dumps([*json.loads(SIGNED.format(DIGEST)), *json.loads(SIGNED.format("sha256:" + "a" * 64))]),
    ],
)
def test_an_answer_that_does_not_name_the_digest_alone_is_no_proof(cosign: Cosign, stdout: str) -> None:
    cosign.answers(stdout)
    assert cosign.failure().code == "signature_invalid"


def test_without_cosign_it_says_how_to_get_it(cosign: Cosign, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(cosign.folder / "bin"))
    error = cosign.failure()
    assert error.code == "cosign_missing"
    assert "api_cosign_url" in error.message


def test_a_cosign_for_another_machine_counts_as_none(cosign: Cosign) -> None:
    cosign.answers()
    (cosign.folder / "bin" / "cosign").write_bytes(b"\x7fELF of another architecture")
    assert cosign.failure().code == "cosign_missing"


def test_a_registry_that_never_answers_is_given_up(cosign: Cosign) -> None:
    cosign.answers(SIGNED.format(DIGEST), then="exec sleep 60")
    assert cosign.failure(timeout=0.5).code == "registry_unreachable"


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"\xff",
        KEY.replace("PUBLIC", "PRIVATE").encode(),
        f"{BEGIN}\n{BODY[1]}\n{BODY[0]}\n{END}\n".encode(),
        (KEY + KEY).encode(),
    ],
    ids=["no file", "empty", "not text", "private key", "not base64", "two keys"],
)
def test_a_file_without_one_public_key_is_refused_before_cosign_runs(cosign: Cosign, content: bytes | None) -> None:
    cosign.answers(SIGNED.format(DIGEST))
    if content is None:
        cosign.key.unlink()
    else:
        cosign.key.write_bytes(content)
    error = cosign.failure()
    assert (error.code, error.details["key"]) == ("key_invalid", str(cosign.key))
    assert not cosign.called


def test_the_fingerprint_is_that_of_the_key_whatever_the_layout_of_its_file(cosign: Cosign) -> None:
    assert fingerprint(cosign.key) == FINGERPRINT
    cosign.key.write_bytes(f"\n{BEGIN}\r\n{BODY[0]}{BODY[1]}\r\n{END}".encode())
    assert fingerprint(cosign.key) == FINGERPRINT
    cosign.key.write_text(KEY.replace("W6dx", "W6dy"))
    assert fingerprint(cosign.key) != FINGERPRINT


def test_the_login_is_in_no_argument_and_nothing_leads_cosign_elsewhere(
    cosign: Cosign, monkeypatch: pytest.MonkeyPatch
) -> None:
    cosign.files.config.parent.mkdir()
    cosign.files.config.write_text(json.dumps({"auths": {REGISTRY: {"auth": basic("lab:s3cret")}}}))
    for name in ("COSIGN_REPOSITORY", "SIGSTORE_ROOT_FILE", "SSL_CERT_DIR", "REGISTRY_AUTH_FILE", "PAYMENT_KEY"):
        monkeypatch.setenv(name, "planted")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    cosign.answers(SIGNED.format(DIGEST))
    cosign.verify()
    assert "s3cret" not in " ".join(cosign.arguments)
    assert basic("lab:s3cret") not in " ".join(cosign.arguments)
    given = cosign.environment
    assert given["DOCKER_CONFIG"] == str(cosign.files.config.parent)
    assert given["https_proxy"] == "http://proxy.example:3128"
    by_the_shell = {"PWD", "OLDPWD", "SHLVL", "_"}
    proxies = {name for name in os.environ if name.upper().endswith("_PROXY")}
    assert set(given) - by_the_shell - proxies == {"PATH", "HOME", "DOCKER_CONFIG"}


def test_the_authorities_of_the_registry_are_trusted_as_long_as_cosign_runs(cosign: Cosign) -> None:
    folder = cosign.files.certs / REGISTRY
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_text("first\n")
    (folder / "older.crt").write_text("second\n")
    (folder / "client.cert").write_text("not an authority\n")
    cosign.answers(SIGNED.format(DIGEST))
    cosign.verify()
    assert (cosign.folder / "trusted").read_text().split() == ["first", "second"]
    assert not Path(cosign.environment["SSL_CERT_FILE"]).exists()


@pytest.mark.parametrize(("named", "loose"), [(REGISTRY, True), ("other.example", False)])
def test_only_an_insecure_registry_is_asked_without_tls(cosign: Cosign, named: str, loose: bool) -> None:
    cosign.files.daemon.write_text(json.dumps({"insecure-registries": [named]}))
    cosign.answers(SIGNED.format(DIGEST))
    cosign.verify()
    options = {"--allow-insecure-registry=true", "--allow-http-registry=true"}
    assert options & set(cosign.arguments) == (options if loose else set())


def test_an_intent_keeps_its_key_and_one_from_before_takes_any_image() -> None:
    intent = Intent("api", "r.example/api:1", "recreate", signature_key="/opt/billing/keys/api.pub")
    stored = json.loads(json.dumps(intent.stored()))
    assert Intent.restored(stored).signature_key == intent.signature_key
    del stored["signature_key"]
    assert Intent.restored(stored).signature_key == ""


def test_a_key_that_depends_on_the_working_directory_is_refused() -> None:
    intent = Intent("api", "r.example/api:1", "recreate")
    with pytest.raises(RolloutError, match="not an absolute path") as caught:
        replace(intent, signature_key="keys/api.pub")
    assert caught.value.code == "input_invalid"
