# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about an image are read by digest, verified, and those of the platform that would run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._rollout.registry import ImageFacts, describe, docker_architecture
from plugins.module_utils._rollout.release import RolloutError

from .http_registry import Answer, Asked, Registry, basic, files, running

CREATED = "2026-11-25T10:00:00Z"


class Images:
    """A registry that keeps documents by digest."""

    def __init__(self, server: Registry) -> None:
        self.server = server
        self.kept: dict[str, bytes] = {}
        server.rule = self.answer

    def answer(self, asked: Asked) -> Answer:
        body = self.kept.get(asked.path)
        return (404, {}, b"") if body is None else (200, {}, body)

    def keep(self, kind: str, document: object) -> str:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        self.kept[f"/v2/billing-api/{kind}/{digest}"] = body
        return digest

    def image(self, architecture: str = "amd64", sizes: tuple[int, ...] = (1000, 24), **config: Any) -> str:
        inner = {"Entrypoint": ["/entry"], "Cmd": ["serve", "--all"], **config}
        described = {"os": "linux", "architecture": architecture, "created": CREATED, "config": inner}
        layers = [{"digest": f"sha256:{index:064}", "size": size} for index, size in enumerate(sizes)]
        return self.keep("manifests", {"config": {"digest": self.keep("blobs", described)}, "layers": layers})

    def index(self, *platforms: str) -> str:
        """An index with one image per platform; the image of the n-th platform has n bytes."""
        entries = []
        for number, text in enumerate(platforms, 1):
            system, architecture, variant = [*text.split("/"), ""][:3]
            platform = {"os": system, "architecture": architecture, **({"variant": variant} if variant else {})}
            entries.append({"digest": self.image(architecture, (number,)), "platform": platform})
        return self.keep("manifests", {"manifests": entries})


@pytest.fixture
def images() -> Iterator[Images]:
    with running() as server:
        yield Images(server)


def ask(tmp_path: Path, images: Images, digest: str, architecture: str = "amd64", **entry: str) -> ImageFacts:
    known = files(tmp_path, images.server.name, **entry)
    return describe(images.server.reference, digest, known, architecture, timeout=5, sleep=lambda _seconds: None)


def failure(tmp_path: Path, images: Images, digest: str, architecture: str = "amd64") -> RolloutError:
    with pytest.raises(RolloutError) as raised:
        ask(tmp_path, images, digest, architecture)
    return raised.value


def test_the_facts_come_from_manifest_and_configuration(tmp_path: Path, images: Images) -> None:
    facts = ask(tmp_path, images, images.image())
    assert facts == ImageFacts(1024, ("/entry",), ("serve", "--all"), CREATED)
    assert [asked.method for asked in images.server.asked] == ["GET", "GET"]


def test_a_tag_is_never_asked_for(tmp_path: Path, images: Images) -> None:
    digest = images.image()
    ask(tmp_path, images, digest)
    assert all("/sha256:" in asked.path for asked in images.server.asked)


def test_an_image_without_entrypoint_and_command_has_none(tmp_path: Path, images: Images) -> None:
    facts = ask(tmp_path, images, images.image(Entrypoint=None, Cmd=None))
    assert (facts.entrypoint, facts.command) == ((), ())


def test_a_layer_that_comes_twice_is_transferred_once(tmp_path: Path, images: Images) -> None:
    layer = {"digest": f"sha256:{1:064}", "size": 700}
    config = images.keep("blobs", {"os": "linux", "architecture": "amd64"})
    digest = images.keep("manifests", {"config": {"digest": config}, "layers": [layer, layer]})
    assert ask(tmp_path, images, digest).size == 700


@pytest.mark.parametrize("which", ["manifests", "blobs"])
def test_other_content_than_the_digest_names_is_refused(tmp_path: Path, images: Images, which: str) -> None:
    digest = images.image()
    path = next(path for path in images.kept if f"/{which}/" in path)
    images.kept[path] = images.kept[path].replace(b"sha256:0", b"sha256:9").replace(b"/entry", b"/other")
    error = failure(tmp_path, images, digest)
    assert error.code == "digest_mismatch"
    assert error.details["wanted"] == path.rpartition("/")[2]
    assert error.details["found"] != error.details["wanted"]


@pytest.mark.parametrize(
    ("architecture", "platforms", "size"),
    [
        ("amd64", ["linux/s390x", "linux/amd64", "linux/arm64/v8"], 2),
        ("amd64", ["windows/amd64", "linux/amd64"], 2),
        ("amd64", ["linux/amd64/v3", "linux/amd64"], 2),
        ("arm64", ["linux/amd64", "linux/arm64/v8"], 2),
        ("arm64", ["linux/arm64"], 1),
        ("arm/v7", ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], 2),
        ("arm/v6", ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], 3),
        ("arm/v6", ["linux/arm/v7", "linux/arm/v5"], 2),
        ("arm/v7", ["linux/arm"], 1),
        ("riscv64", ["linux/riscv64", "unknown/unknown"], 1),
    ],
)
def test_an_index_is_read_as_docker_reads_it(
    tmp_path: Path, images: Images, architecture: str, platforms: list[str], size: int
) -> None:
    assert ask(tmp_path, images, images.index(*platforms), architecture).size == size


def test_a_missing_platform_is_said_with_those_that_exist(tmp_path: Path, images: Images) -> None:
    error = failure(tmp_path, images, images.index("linux/s390x", "unknown/unknown", "linux/arm/v7"))
    assert error.code == "platform_missing"
    assert error.details["platforms"] == ["linux/s390x", "linux/arm/v7"]
    assert "linux/amd64" in error.message


def test_an_image_without_index_must_be_for_this_platform_too(tmp_path: Path, images: Images) -> None:
    error = failure(tmp_path, images, images.image("arm64"))
    assert (error.code, error.details["platforms"]) == ("platform_missing", ["linux/arm64"])
    assert ask(tmp_path, images, images.image("arm"), "arm/v6").size == 1024


@pytest.mark.parametrize(
    "document",
    [b"<html>", [], {}, {"manifests": [3]}, {"config": {"digest": "x"}}, {"config": {"digest": "sha256:../../tags"}}],
)
def test_what_is_no_image_is_refused(tmp_path: Path, images: Images, document: object) -> None:
    assert failure(tmp_path, images, images.keep("manifests", document)).code == "registry_invalid"


def test_an_image_without_its_configuration_is_unknown(tmp_path: Path, images: Images) -> None:
    digest = images.image()
    images.kept = {path: body for path, body in images.kept.items() if "/manifests/" in path}
    assert failure(tmp_path, images, digest).code == "image_unknown"


def test_an_endless_document_is_not_read_to_its_end(tmp_path: Path, images: Images) -> None:
    error = failure(tmp_path, images, images.keep("manifests", b" " * (5 << 20)))
    assert (error.code, "more than 4 MiB" in error.message) == ("registry_invalid", True)


def test_a_document_that_was_cut_is_asked_for_again(tmp_path: Path, images: Images) -> None:
    digest = images.image()

    def cut_first(asked: Asked) -> Answer:
        status, headers, body = images.answer(asked)
        first = len(images.server.asked) == 1
        return (status, {"Content-Length": str(len(body))}, body[:10]) if first else (status, headers, body)

    images.server.rule = cut_first
    assert ask(tmp_path, images, digest).size == 1024


def test_a_token_that_expires_on_the_way_is_renewed_once(tmp_path: Path, images: Images) -> None:
    """Each token is good for one request: as if it expired between manifest and configuration."""
    digest = images.image()
    good: list[str] = []

    def rule(asked: Asked) -> Answer:
        if asked.path.startswith("/token"):
            good.append(f"Bearer t{len(images.server.asked)}")
            return 200, {}, json.dumps({"token": good[-1].split()[1]}).encode()
        if asked.authorization in good:
            good.remove(asked.authorization)
            return images.answer(asked)
        return 401, {"WWW-Authenticate": f"Bearer realm={images.server.url}/token,service=lab"}, b""

    images.server.rule = rule
    assert ask(tmp_path, images, digest).size == 1024
    assert len([asked for asked in images.server.asked if asked.path.startswith("/token")]) == 2


def test_a_blob_on_another_host_is_fetched_without_the_password(tmp_path: Path, images: Images) -> None:
    digest = images.image()
    with running() as storage:
        storage.rule = images.answer

        def rule(asked: Asked) -> Answer:
            if asked.authorization != f"Basic {basic('lab:s3cret')}":
                return 401, {"WWW-Authenticate": "Basic"}, b""
            moved = (307, {"Location": f"{storage.url}{asked.path}"}, b"")
            return moved if "/blobs/" in asked.path else images.answer(asked)

        images.server.rule = rule
        assert ask(tmp_path, images, digest, auth=basic("lab:s3cret")).size == 1024
    assert [(asked.method, asked.authorization) for asked in storage.asked] == [("GET", "")]


@pytest.mark.parametrize(
    ("machine", "architecture"),
    [
        ("x86_64", "amd64"),
        ("AMD64", "amd64"),
        ("aarch64", "arm64"),
        ("arm64", "arm64"),
        ("armv7l", "arm/v7"),
        ("armv6l", "arm/v6"),
        ("armv8l", "arm/v7"),
        ("i686", "386"),
        ("ppc64le", "ppc64le"),
        ("s390x", "s390x"),
        ("riscv64", "riscv64"),
    ],
)
def test_machines_have_the_names_docker_gives_them(machine: str, architecture: str) -> None:
    assert docker_architecture(machine) == architecture
