# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The bootstrap program, phase by phase: what keeps a server from serving, and what it says of it."""

from __future__ import annotations

import fcntl
import io
import json
import tarfile
from typing import Any

import pytest
import yaml
from billing_bootstrap.bundle import ensure_bundle
from billing_bootstrap.given import unsafe_yaml
from billing_bootstrap.program import main

from tests.bootstrap.conftest import Machine, make_bundle
from tests.integration.runs import ROOT

# -- the whole


def test_good_run_is_ready_and_says_so_everywhere(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    status = machine.run()
    assert (status["code"], status["state"], status["reason"], status["changed"]) == (0, "ready", "", 4)
    assert set(status["seconds"]) == {"packages", "bundle", "secrets", "playbook"}
    assert "ready\n" in capsys.readouterr().out
    assert machine.paths.console.read_bytes() == b"billing-bootstrap: billing-api1 is ready\r\n"


def test_console_hears_only_of_news(machine: Machine) -> None:
    machine.run()
    machine.paths.console.unlink()
    machine.paths.console.touch()
    since = machine.run()["since"]
    assert machine.paths.console.read_text() == ""
    assert machine.run()["since"] == since


def test_playbook_runs_in_the_group_that_it_wants_with_the_bundle(machine: Machine) -> None:
    machine.command("ansible-playbook", 'cat "$2"; echo "path=$ANSIBLE_COLLECTIONS_PATH" > ' + f"{machine.root}/seen")
    machine.run()
    inventory = json.loads((machine.paths.library / "inventory.json").read_text())
    assert inventory["billing"]["hosts"]["billing-api1"]["ansible_connection"] == "local"
    sha256 = machine.config["bundle"]["sha256"]
    assert (machine.root / "seen").read_text() == f"path={machine.paths.bundles}/{sha256}\n"


def test_failure_after_a_good_run_is_no_longer_ready(machine: Machine) -> None:
    machine.run()
    machine.command("ansible-playbook", "exit 4")
    assert machine.run()["state"] == "failed"


def test_two_runs_at_once_are_one(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.paths.run.mkdir(parents=True)
    with (machine.paths.run / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        machine.paths.config.parent.mkdir(parents=True)
        machine.paths.config.write_text(json.dumps(machine.config))
        assert main(machine.paths) == 0
    assert "another run is under way" in capsys.readouterr().out
    assert machine.calls == []


def test_unexpected_error_is_in_the_status_too(machine: Machine) -> None:
    machine.command("ansible-playbook", "true")
    machine.paths.bundles.parent.mkdir(parents=True)
    machine.paths.bundles.write_text("a file where a folder belongs")
    with pytest.raises(FileExistsError):
        machine.run()
    assert json.loads(machine.paths.status.read_text())["state"] == "failed"


# -- packages


def test_missing_packages_are_installed(machine: Machine) -> None:
    machine.config["packages"] = ["ansible-core", "awscli"]
    machine.command("apt-get", "true")
    assert machine.run()["state"] == "ready"
    installs = [call for call in machine.calls if call.startswith("apt-get") and " install " in call]
    assert [call.rpartition(" ")[2] for call in installs] == ["awscli"]


def test_mirror_that_does_not_answer_is_waited_for(machine: Machine) -> None:
    machine.command("dpkg-query", "true")
    machine.command("apt-get", "echo 'Could not resolve' >&2; exit 100")
    status = machine.run()
    assert (status["state"], status["phase"]) == ("waiting", "packages")
    assert "Could not resolve" in status["reason"]


@pytest.mark.parametrize("sign", ["audit", "journal"])
def test_an_interrupted_installation_is_ended(machine: Machine, sign: str) -> None:
    machine.command("apt-get", "true")
    if sign == "audit":
        machine.command("dpkg", '[ "$1" != --audit ] || echo "half configured: docker.io"')
    else:
        machine.paths.dpkg_updates.mkdir(parents=True)
        (machine.paths.dpkg_updates / "0001").touch()
    assert machine.run()["state"] == "ready"
    repairs = [call for call in machine.calls if call.endswith(("--configure -a", "-f install"))]
    assert [call.split()[0] for call in repairs] == ["dpkg", "apt-get"]


# -- bundle


def test_wrong_checksum_is_refused_before_unpacking(machine: Machine) -> None:
    machine.publish(make_bundle("evil"), "0" * 64)
    status = machine.run()
    assert (status["state"], status["phase"]) == ("failed", "bundle")
    assert "has the checksum" in status["reason"]
    assert list(machine.paths.bundles.iterdir()) == []
    assert not any(call.startswith("ansible-playbook") for call in machine.calls)


def test_corrupt_bundle_is_refused(machine: Machine) -> None:
    machine.publish(make_bundle()[:60])
    assert "cannot be unpacked" in machine.run()["reason"]
    machine.publish(b"no archive at all")
    assert "cannot be unpacked" in machine.run()["reason"]
    assert not any(call.startswith("ansible-playbook") for call in machine.calls)


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "ansible_collections/../../outside"])
def test_nothing_is_unpacked_outside(machine: Machine, name: str) -> None:
    machine.publish(make_bundle("ansible_collections/x", name))
    machine.run()
    outside = [path for path in machine.root.rglob("outside") if machine.paths.bundles not in path.parents]
    assert outside == []


def test_link_out_of_the_bundle_is_refused(machine: Machine) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        link = tarfile.TarInfo("ansible_collections/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    machine.publish(buffer.getvalue())
    assert "cannot be unpacked" in machine.run()["reason"]


def test_archive_without_collections_is_refused(machine: Machine) -> None:
    machine.publish(make_bundle("readme"))
    assert "is no bundle" in machine.run()["reason"]


def test_bundle_that_is_too_large_is_refused(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensure_bundle, "__defaults__", (10,))
    assert "is larger than" in machine.run()["reason"]


def test_server_that_does_not_answer_is_waited_for(machine: Machine) -> None:
    machine.config["bundle"]["url"] = "http://127.0.0.1:1/bundle.tar.gz"
    status = machine.run()
    assert (status["state"], status["phase"]) == ("waiting", "bundle")
    assert "cannot be fetched" in status["reason"]


def test_bundle_is_fetched_once_and_an_old_one_goes(machine: Machine) -> None:
    machine.run()
    old = machine.config["bundle"]["sha256"]
    (machine.root / "published.tar.gz").unlink()
    assert machine.run()["state"] == "ready"
    machine.publish(make_bundle("ansible_collections/a/b/galaxy.yml"))
    assert machine.run()["state"] == "ready"
    assert [path.name for path in machine.paths.bundles.iterdir()] == [machine.config["bundle"]["sha256"]] != [old]


def test_half_unpacked_bundle_is_made_anew(machine: Machine) -> None:
    (machine.paths.bundles / f"{machine.config['bundle']['sha256']}.new" / "half").mkdir(parents=True)
    assert machine.run()["state"] == "ready"
    assert [path.name for path in machine.paths.bundles.iterdir()] == [machine.config["bundle"]["sha256"]]


def test_bundle_comes_from_s3_with_the_region(machine: Machine) -> None:
    machine.command("aws", f"cat {machine.root}/published.tar.gz")
    machine.config["bundle"]["url"] = "s3://bucket/bundles/x.tar.gz"
    machine.config["region"] = "eu-central-1"
    assert machine.run()["state"] == "ready"
    assert "aws s3 cp s3://bucket/bundles/x.tar.gz - --no-progress --region eu-central-1" in machine.calls


def test_bucket_that_refuses_is_waited_for(machine: Machine) -> None:
    machine.command("aws", "echo 'An error occurred (403)' >&2; exit 1")
    machine.config["bundle"]["url"] = "s3://bucket/bundles/x.tar.gz"
    status = machine.run()
    assert status["state"] == "waiting"
    assert "An error occurred (403)" in status["reason"]


# -- secrets


def with_parameters(machine: Machine, **parameters: str) -> None:
    """Let the AWS command line answer with these parameters."""
    found = [{"Name": f"/billing/production/{name}", "Value": value} for name, value in parameters.items()]
    (machine.root / "parameters.json").write_text(json.dumps({"Parameters": found}))
    machine.command("aws", f"cat {machine.root}/parameters.json")
    machine.config["secrets"] = {"source": "ssm", "path": "/billing/production", "required": []}


def given_to_playbook(machine: Machine) -> str:
    """Return the secrets as the playbook gets them; their file must be gone afterwards."""
    look = 'for word; do case "$word" in @*.yml) stat -c %a "${word#@}"; cat "${word#@}";; esac; done'
    machine.command("ansible-playbook", f"{{ {look}; }} > {machine.root}/given")
    assert machine.run()["state"] == "ready"
    assert list(machine.paths.secrets.iterdir()) == []
    return (machine.root / "given").read_text()


class Loader(yaml.SafeLoader):
    """Reads `!unsafe` texts, marked."""


Loader.add_constructor("!unsafe", lambda loader, node: ("unsafe", loader.construct_scalar(node)))  # type: ignore[arg-type]


def test_parameters_reach_the_playbook_in_a_private_file_and_as_text(machine: Machine) -> None:
    with_parameters(machine, postgres_app_password='{{ "x" }}: "\u00e4\n', api_secrets='{"key": "k1"}')
    mode, _newline, text = given_to_playbook(machine).partition("\n")
    assert mode == "600"
    assert yaml.load(text, Loader) == {  # noqa: S506 (a safe loader)
        "postgres_app_password": ("unsafe", '{{ "x" }}: "\u00e4\n'),
        "api_secrets": {"key": ("unsafe", "k1")},
    }


def test_no_secret_is_in_any_command_line_or_status(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    with_parameters(machine, postgres_app_password="hush-hush")
    assert machine.run()["state"] == "ready"
    told = [*machine.calls, machine.paths.status.read_text(), capsys.readouterr().out]
    assert not any("hush-hush" in text for text in told)


def test_no_parameter_at_all_is_waited_for(machine: Machine) -> None:
    with_parameters(machine)
    status = machine.run()
    assert (status["state"], status["phase"]) == ("waiting", "secrets")
    assert "there is no parameter below /billing/production" in status["reason"]


def test_missing_parameter_is_named_and_waited_for(machine: Machine) -> None:
    with_parameters(machine, postgres_app_password="x")
    machine.config["secrets"]["required"] = ["docker_registries", "postgres_app_password"]
    status = machine.run()
    assert status["state"] == "waiting"
    assert status["reason"].startswith("docker_registries missing in ssm /billing/production")
    with_parameters(machine, postgres_app_password="x", docker_registries="[]")
    assert machine.run()["state"] == "ready"


def test_refused_parameters_are_waited_for(machine: Machine) -> None:
    with_parameters(machine)
    machine.command("aws", "echo AccessDenied >&2; exit 254")
    status = machine.run()
    assert (status["state"], "AccessDenied" in status["reason"]) == ("waiting", True)


@pytest.mark.parametrize(
    ("content", "mode", "state"),
    [
        (None, 0, "waiting"),
        ("{}", 0o644, "failed"),
        ("[]", 0o600, "failed"),
        ('{"a": hush', 0o600, "failed"),
        ('{"postgres_app_password": "x"}', 0o600, "ready"),
    ],
)
def test_secrets_in_a_file(machine: Machine, content: str | None, mode: int, state: str) -> None:
    file = machine.root / "secrets.json"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    machine.config["secrets"] = {"source": "file", "path": str(file), "required": []}
    status = machine.run()
    assert status["state"] == state
    assert "hush" not in status["reason"]


def test_any_character_of_a_secret_arrives() -> None:
    secret = "\U0001f600 \\ud83d\\ude00 \u2028 \x85 {{ 1 + 1 }} 'x\""
    loader = type("Loader", (yaml.SafeLoader,), {})
    yaml.add_constructor("!unsafe", lambda _loader, node: node.value, loader)
    assert yaml.load(unsafe_yaml({secret: [secret]}), loader) == {secret: [secret]}  # noqa: S506 (a SafeLoader)


# -- configuration


def test_config_is_what_terraform_renders(machine: Machine) -> None:
    source = (ROOT / "terraform" / "modules" / "bootstrap" / "main.tf").read_text()
    rendered: dict[str, Any] = {
        line.split("=")[0].strip(): None
        for line in source.partition("config = {")[2].partition("}")[0].splitlines()[1:]
    }
    rendered.pop("", None)
    assert set(rendered) == set(machine.config)
