# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The faulty registry does each of its faults, that one alone, and counts what it was asked."""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from plugins.module_utils._rollout.registry import RegistryFiles, describe, resolve
from plugins.module_utils._rollout.release import Reference, RolloutError
from tests.lab import keys
from tests.lab.faulty_registry import WRONG_DIGEST, Fault, FaultyRegistry
from tests.lab.push import MANIFEST, Client

from ..plugins.module_utils._rollout.http_registry import Answer, Asked, basic, running

LOGIN = "lab:s3cret"
LAYER = b"layer" * 1000


def digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def image(command: str) -> tuple[bytes, bytes]:
    """Manifest and configuration of an image."""
    config = json.dumps({"os": "linux", "architecture": "amd64", "config": {"Cmd": [command]}}).encode()
    parts = {
        "config": {"digest": digest_of(config)},
        "layers": [{"digest": digest_of(LAYER), "size": len(LAYER)}],
    }
    return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, **parts}).encode(), config


OLD, OLD_CONFIG = image("old")
NEW, NEW_CONFIG = image("new")


class Upstream:
    """Stands for the real registry: basic authentication, two images, the tag `stable` on the old one."""

    def __init__(self) -> None:
        self.accepted = ""
        documents = {digest_of(body): body for body in (OLD, NEW)} | {"stable": OLD, "other": NEW}
        blobs = {digest_of(body): body for body in (OLD_CONFIG, NEW_CONFIG, LAYER)}
        self.kept = {f"/v2/api/manifests/{name}": body for name, body in documents.items()}
        self.kept |= {f"/v2/api/blobs/{name}": body for name, body in blobs.items()} | {"/v2/": b"{}"}

    def __call__(self, asked: Asked) -> Answer:
        self.accepted = asked.accept
        if asked.authorization != f"Basic {basic(LOGIN)}":
            return 401, {"WWW-Authenticate": 'Basic realm="lab"'}, b""
        body = self.kept.get(asked.path)
        if body is None:
            return 404, {}, b""
        described = {"Content-Type": MANIFEST, "Docker-Content-Digest": digest_of(body)}
        length = {"Content-Length": str(len(body))}
        return 200, {**described, **length}, b"" if asked.method == "HEAD" else body


class Setup:
    """A faulty registry before a stand-in, and a client of it."""

    def __init__(self, folder: Path, registry: FaultyRegistry, authority: Path, upstream: Upstream) -> None:
        self.folder, self.registry, self.authority, self.upstream = folder, registry, authority, upstream

    def ask(
        self, method: str, path: str, login: str = LOGIN, timeout: float = 10, accept: tuple[str, ...] = ()
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """One raw request."""
        trust = ssl.create_default_context(cafile=str(self.authority))
        connection = http.client.HTTPSConnection("127.0.0.1", self.registry.port, context=trust, timeout=timeout)
        try:
            connection.putrequest(method, path)
            if login:
                connection.putheader("Authorization", f"Basic {basic(login)}")
            for kind in accept:
                connection.putheader("Accept", kind)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    @property
    def files(self) -> RegistryFiles:
        """Docker's files on a host that uses this registry."""
        entry = self.registry.inventory_entry()
        certificate = self.folder / "certs.d" / entry["registry"] / "ca.crt"
        certificate.parent.mkdir(parents=True, exist_ok=True)
        certificate.write_text(Path(entry["ca_src"]).read_text())
        auth = {"auth": basic(f"{entry['username']}:{entry['password']}")}
        (self.folder / "config.json").write_text(json.dumps({"auths": {entry["registry"]: auth}}))
        return RegistryFiles(self.folder / "config.json", self.folder / "certs.d", self.folder / "daemon.json")

    @property
    def reference(self) -> Reference:
        return Reference.parse(self.registry.reference("api:stable"))

    def resolve(self, timeout: float = 10) -> str:
        return resolve(self.reference, self.files, timeout, sleep=lambda _seconds: None)

    def command(self, digest: str) -> str:
        """What the image with this digest runs."""
        facts = describe(self.reference, digest, self.files, "amd64", sleep=lambda _seconds: None)
        return facts.command[0]

    @contextmanager
    def failing(self, code: str) -> Iterator[None]:
        with pytest.raises(RolloutError) as raised:
            yield
        assert raised.value.code == code


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return keys.ensure_authority(tmp_path_factory.mktemp("authority"), "unit")


@pytest.fixture
def setup(tmp_path: Path, authority: tuple[Path, Path]) -> Iterator[Setup]:
    certificate = keys.ensure_certificate(authority[0].parent, authority, "registry", {"127.0.0.1": "IP"})
    with running(certificate) as server:
        server.rule = stand_in = Upstream()
        user, _colon, password = LOGIN.partition(":")
        upstream = Client("127.0.0.1", server.server.server_port, authority[0], user, password)
        with FaultyRegistry("127.0.0.1", upstream, certificate) as registry:
            yield Setup(tmp_path, registry, authority[0], stand_in)


def test_without_a_fault_it_is_the_real_registry(setup: Setup) -> None:
    assert setup.resolve() == digest_of(OLD)
    assert setup.command(digest_of(OLD)) == "old"
    assert setup.ask("GET", f"/v2/api/blobs/{digest_of(LAYER)}")[2] == LAYER
    assert setup.ask("GET", "/v2/api/manifests/absent")[0] == 404


def test_it_lets_in_whom_the_real_registry_lets_in(setup: Setup) -> None:
    assert setup.ask("GET", "/v2/", login="")[0] == 401
    assert setup.ask("GET", "/v2/", login="lab:guess")[0] == 401
    assert setup.ask("GET", "/v2/")[0] == 200


def test_every_kind_of_manifest_that_docker_reads_is_asked_for(setup: Setup) -> None:
    """Docker sends a header for each; with the first alone a registry answers in a format of 2014."""
    setup.ask("GET", "/v2/api/manifests/stable", accept=("a/b", "c/d"))
    assert setup.upstream.accepted == "a/b, c/d"


def test_requests_are_counted_by_method_and_kind_without_the_challenge(setup: Setup) -> None:
    setup.resolve()
    setup.command(digest_of(OLD))
    registry = setup.registry
    assert [request.status for request in registry.requests] == [401, 200, 401, 200, 200]
    counted = [registry.count("HEAD", "tag"), registry.count("GET", "digest"), registry.count("GET", "blob")]
    assert counted == [1, 1, 1]
    assert (registry.count("GET", "tag"), registry.count("GET", "digest", "blob")) == (0, 2)
    registry.requests.clear()
    assert registry.count("HEAD", "tag") == 0


def test_down_refuses_connections_and_comes_back_on_the_same_port(setup: Setup) -> None:
    port = setup.registry.port
    setup.registry.fault = Fault("down")
    with pytest.raises(ConnectionRefusedError):
        setup.ask("GET", "/v2/")
    setup.registry.fault = Fault()
    assert setup.registry.port == port
    assert setup.ask("GET", "/v2/")[0] == 200


def test_down_of_some_requests_cuts_those_off(setup: Setup) -> None:
    setup.registry.fault = Fault("down", only=("blob",))
    assert setup.ask("GET", "/v2/api/manifests/stable")[0] == 200
    with pytest.raises(http.client.RemoteDisconnected):
        setup.ask("GET", f"/v2/api/blobs/{digest_of(LAYER)}")


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Fault("unauthorized"), 401, "registry_unauthorized"),
        (Fault("throttled", retry_after=30), 429, "registry_throttled"),
        (Fault("error"), 500, "registry_unreachable"),
    ],
)
def test_a_refusal_is_what_every_request_gets(setup: Setup, fault: Fault, status: int, code: str) -> None:
    setup.registry.fault = fault
    for path in ("/v2/", "/v2/api/manifests/stable", f"/v2/api/blobs/{digest_of(LAYER)}"):
        assert setup.ask("GET", path)[0] == status
    with setup.failing(code):
        setup.resolve()


def test_a_throttled_client_is_told_how_long_to_wait(setup: Setup) -> None:
    setup.registry.fault = Fault("throttled", retry_after=30)
    assert setup.ask("GET", "/v2/")[1]["Retry-After"] == "30"


def test_a_fault_may_be_of_some_requests_only(setup: Setup) -> None:
    setup.registry.fault = Fault("error", only=("blob",))
    assert setup.ask("GET", "/v2/api/manifests/stable")[0] == 200
    assert setup.ask("GET", f"/v2/api/blobs/{digest_of(LAYER)}")[0] == 500


def test_hanging_accepts_and_never_answers(setup: Setup) -> None:
    setup.registry.fault = Fault("hanging")
    with pytest.raises(TimeoutError):
        setup.ask("GET", "/v2/", timeout=0.3)
    with setup.failing("registry_unreachable"):
        setup.resolve(timeout=0.2)
    assert {request.status for request in setup.registry.requests} == {0}


def test_a_request_that_hangs_ends_without_an_answer_when_the_fault_goes(setup: Setup) -> None:
    setup.registry.fault = Fault("hanging")
    ended: list[BaseException] = []

    def wait() -> None:
        try:
            setup.ask("GET", "/v2/")
        except (OSError, http.client.HTTPException) as error:
            ended.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not setup.registry.requests:
        waiting.join(0.01)
    setup.registry.fault = Fault()
    waiting.join(8)
    assert [type(error) for error in ended] == [http.client.RemoteDisconnected]
    assert setup.ask("GET", "/v2/")[0] == 200


def test_truncated_cuts_every_blob_and_nothing_else(setup: Setup) -> None:
    setup.registry.fault = Fault("truncated")
    with pytest.raises(http.client.IncompleteRead) as raised:
        setup.ask("GET", f"/v2/api/blobs/{digest_of(LAYER)}")
    assert LAYER.startswith(raised.value.partial)
    assert len(raised.value.partial) == len(LAYER) // 2
    assert setup.ask("GET", "/v2/api/manifests/stable")[2] == OLD
    assert setup.resolve() == digest_of(OLD)
    with setup.failing("registry_unreachable"):
        setup.command(digest_of(OLD))


def test_wrong_digest_gives_other_content_than_the_digest_names(setup: Setup) -> None:
    setup.registry.fault = Fault("wrong_digest")
    assert setup.resolve() == WRONG_DIGEST
    for digest in (WRONG_DIGEST, digest_of(OLD)):
        status, headers, body = setup.ask("GET", f"/v2/api/manifests/{digest}")
        assert (status, headers["Docker-Content-Digest"]) == (200, digest)
        assert digest_of(body) != digest
        assert json.loads(body) == json.loads(OLD)
        with setup.failing("digest_mismatch"):
            setup.command(digest)


def test_a_moved_tag_is_another_image_after_its_first_head(setup: Setup) -> None:
    setup.registry.fault = Fault("moved_tag", tag="stable", digests=(digest_of(OLD), digest_of(NEW)))
    assert setup.resolve() == digest_of(OLD)
    assert setup.ask("GET", "/v2/api/manifests/stable")[2] == NEW
    assert setup.resolve() == digest_of(NEW)
    assert setup.command(digest_of(OLD)) == "old"


def test_no_platform_gives_an_index_for_another_machine(setup: Setup) -> None:
    setup.registry.fault = Fault("no_platform", tag="stable")
    digest = setup.resolve()
    body = setup.ask("GET", "/v2/api/manifests/stable")[2]
    assert (digest, setup.ask("GET", f"/v2/api/manifests/{digest}")[2]) == (digest_of(body), body)
    with setup.failing("platform_missing"):
        setup.command(digest)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("wrong_digest", tag="stable"),
        Fault("moved_tag", tag="stable", digests=(digest_of(NEW), digest_of(NEW))),
        Fault("no_platform", tag="stable"),
    ],
)
def test_a_fault_of_one_tag_leaves_the_others_alone(setup: Setup, fault: Fault) -> None:
    setup.registry.fault = fault
    _status, headers, body = setup.ask("GET", "/v2/api/manifests/other")
    assert (headers["Docker-Content-Digest"], body) == (digest_of(NEW), NEW)


def test_it_stops_listening_at_the_end_also_while_a_request_hangs(setup: Setup) -> None:
    with setup.registry as registry:
        registry.fault = Fault("hanging")
        with pytest.raises(TimeoutError):
            setup.ask("GET", "/v2/", timeout=0.2)
    with pytest.raises(ConnectionRefusedError):
        setup.ask("GET", "/v2/")
