# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""References, releases and hashes."""

from __future__ import annotations

import pytest

from plugins.module_utils._rollout.release import Reference, Release, RolloutError, hash_parts, other_slot

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("nginx", "docker.io", "library/nginx", "latest", ""),
        ("nginx:1.30", "docker.io", "library/nginx", "1.30", ""),
        ("acme/api:v1", "docker.io", "acme/api", "v1", ""),
        ("registry.lab:5000/billing-api:1.0.0", "registry.lab:5000", "billing-api", "1.0.0", ""),
        ("localhost/a/b", "localhost", "a/b", "latest", ""),
        (f"ghcr.io/acme/api@{DIGEST}", "ghcr.io", "acme/api", "", DIGEST),
        (f"ghcr.io/acme/api:v1@{DIGEST}", "ghcr.io", "acme/api", "v1", DIGEST),
    ],
)
def test_a_reference_is_read_as_docker_reads_it(
    text: str, registry: str, repository: str, tag: str, digest: str
) -> None:
    assert Reference.parse(text) == Reference(registry, repository, tag, digest)


@pytest.mark.parametrize("text", ["", "UPPER", "a b", "name:", "name@sha256:12", "https://registry/x", "-x", "a//b"])
def test_a_wrong_reference_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(RolloutError) as failure:
        Reference.parse(text)
    assert failure.value.code == "image_invalid"
    assert f"'{text}'" in failure.value.message


def test_a_release_is_digest_and_configuration() -> None:
    image = Reference.parse("ghcr.io/acme/api:v1").at(DIGEST)
    release = Release(image, "f" * 64)
    assert image == f"ghcr.io/acme/api@{DIGEST}"
    assert (release.digest, release.id) == (DIGEST, "aaaaaaaaaaaa-ffffffff")
    assert release != Release(image, "e" * 64)


def test_the_hash_depends_on_names_contents_and_key_but_not_on_order() -> None:
    base = hash_parts({"a": b"1", "b": b"2"}, b"key")
    assert base == hash_parts({"b": b"2", "a": b"1"}, b"key")
    assert len({base, hash_parts({"a": b"12", "b": b""}, b"key"), hash_parts({"a": b"1", "b": b"2"}, b"other")}) == 3


def test_slots_take_turns() -> None:
    assert [other_slot(slot) for slot in ("", "blue", "green")] == ["blue", "green", "blue"]
