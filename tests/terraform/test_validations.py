# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""Rules that several modules share, or that a program of the system has the last word on: cases, one by one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import TERRAFORM, Terraform

MODULES = TERRAFORM / "modules"
README_PAGES = [TERRAFORM / "README.md", TERRAFORM / "aws" / "README.md"]

SECRETS: list[tuple[dict[str, Any], list[str]]] = [
    ({"postgres_app_password": "hunter2"}, ["postgres_app_password"]),
    ({"docker_registries": [{"registry": "r.example.com", "password": "hunter2"}]}, ["password"]),
    ({"api_database_url": "postgresql://u:hunter2@db/x"}, ["a URL with a password"]),
    ({"api_env": ["REDIS_URL=redis://:hunter2@cache:6379/0"]}, ["a URL with a password"]),
    ({"api_env": {"STRIPE_SECRET": "sk_live", "A": "b"}}, ["STRIPE_SECRET"]),
    ({"a": {"b": [{"c": {"API_KEY": "k"}}]}, "SMTP_PASS": "p"}, ["API_KEY", "SMTP_PASS"]),
    (
        {"accessKey": "k", "aws_secret_access_key": "k", "private-key": "k"},
        ["accessKey", "aws_secret_access_key", "private-key"],
    ),
    ({"pin_secret": 4711, "token": -1}, ["pin_secret", "token"]),
    ({"api_secrets": {"key": "k1"}, "tokens_secret": ["a"]}, ["api_secrets", "tokens_secret"]),
    ({"password": '"quoted"'}, ["password"]),
    ({"password": "{single"}, ["password"]),
    ({"password": "{"}, ["password"]),
    ({'we"ird_password': "x"}, ["ird_password"]),
]
NO_SECRETS: list[dict[str, Any]] = [
    {"api_image": "registry.example.com:5000/billing-api:stable", "api_replicas": 2, "api_env": {"LOG_LEVEL": "debug"}},
    {
        "postgres_password": "{{ lookup('file', '/srv/password') }}",
        "api_database_url": "postgresql://u:{{ word }}@db/x",
    },
    {"password": "", "token": None, "no_password": True, "use_secret": False, "api_secrets": {}, "secrets": []},
    {"api_key_file": "/run/secrets/key", "password_file": "x", "secret_versions": {"a": 1}, "tokenizer": "x"},
    {
        "url": "https://user@example.com:8443/a:b@c",
        "git": "git@example.com:a/b.git",
        "note": "at 10:30 mail@example.com",
    },
    {"firewall_ssh_cidrs": [], "note": 'says "password": "x" in a text'},
]
SPANS = ["15min", "1h 30min", "1h30min", "90 s", "1sec", "2second", "3seconds", "1m", "2minute", "3minutes", "1hr"]
SPANS += ["1hour", "2hours", "1d", "1day", "999999days", "0h 1s"]
NO_SPANS = ["", "often", "15mins", "2hrs", "1.5h", "900", "0s", "0h 0min", "1M", "1w", "-1s", "1h,1s", "15min ", "1us"]


def expressions() -> list[str]:
    """Return the expression that finds secrets, from wherever it stands."""
    sources = [MODULES / name / "variables.tf" for name in ("bootstrap", "contract")]
    text = "\n".join(source.read_text(encoding="utf-8") for source in sources)
    return [str(json.loads(found)) for found in re.findall(r'regexall\(("\(\?i\)(?:[^"\\]|\\.)*"), jsonencode', text)]


def interval() -> tuple[str, str]:
    """Return the two expressions that `interval` must match."""
    text = (MODULES / "bootstrap" / "variables.tf").read_text(encoding="utf-8")
    whole, some = re.findall(r'regex\(("(?:[^"\\]|\\.)*"), var\.interval\)', text)
    return str(json.loads(whole)), str(json.loads(some))


@pytest.fixture
def console(terraform_binary: str, tmp_path: Path) -> Any:
    """Evaluate an expression with what Terraform itself makes of it."""
    terraform = Terraform(terraform_binary, tmp_path, tmp_path)

    def evaluate(value: object, expression: str) -> Any:
        (tmp_path / "main.tf").write_text(
            f"locals {{\n  value = jsondecode({json.dumps(json.dumps(value)).replace('${', '$${')})\n}}\n"
            f'output "found" {{\n  value = jsonencode({expression})\n}}\n'
        )
        terraform.run("apply", "-auto-approve")
        return json.loads(json.loads(terraform.run("output", "-json", "found").stdout))

    return evaluate


def test_every_module_looks_for_secrets_with_the_same_expression() -> None:
    found = expressions()
    assert len(found) == 6  # three conditions, and three messages that name what is wrong
    assert len(set(found)) == 1


def test_secrets_are_found_and_named_but_never_shown(console: Any) -> None:
    written = json.dumps(expressions()[0])
    name = 'found[0] == null ? "a URL with a password" : found[0]'
    names = f"[for found in regexall({written}, jsonencode(given)) : {name}]"
    found = console([given for given, _named in SECRETS], f"[for given in local.value : {names}]")
    assert [sorted(names) for names in found] == [sorted(named) for _given, named in SECRETS]


def test_what_is_no_secret_is_let_through(console: Any) -> None:
    written = json.dumps(expressions()[0])
    assert console(NO_SECRETS, f"[for given in local.value : regexall({written}, jsonencode(given))]") == [[]] * len(
        NO_SECRETS
    )


def test_message_names_the_key_and_not_the_value(terraform_binary: str, tmp_path: Path) -> None:
    terraform = Terraform(terraform_binary, tmp_path, tmp_path)
    bundle = f'{{ url = "https://example.com/b", sha256 = "{"0" * 64}" }}'
    (tmp_path / "main.tf").write_text(
        f'module "b" {{\n  source = "{MODULES}/bootstrap"\n  hostname = "a"\n  bundle = {bundle}\n'
        '  interval = "15mins"\n'
        '  variables = { docker_registries = [{ password = "hunter2" }], url = "x://u:hunter2@h" }\n}\n'
    )
    terraform.run("init")
    said = " ".join(terraform.run("plan", ok=(1,)).stderr.replace("│", " ").split())
    assert "Wrong: password, a URL with a password." in said
    assert "interval is a time span of systemd longer than nothing" in said


@pytest.mark.parametrize("span", SPANS)
def test_interval_is_what_systemd_takes(span: str) -> None:
    assert all(re.search(expression, span) for expression in interval())
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on PATH: what systemd says was not asked")
    done = subprocess.run(["systemd-analyze", "timespan", span], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    microseconds = re.search(r"(?:μs|us): (\d+)", done.stdout)
    assert microseconds
    assert int(microseconds[1]) > 0


@pytest.mark.parametrize("span", NO_SPANS)
def test_interval_that_the_timer_would_ignore_is_refused(span: str) -> None:
    assert not all(re.search(expression, span) for expression in interval())


@pytest.mark.parametrize("page", README_PAGES, ids=lambda page: page.parent.name)
def test_commands_of_aws_that_people_type_name_the_region(page: Path) -> None:
    commands = re.findall(r"\baws (?:sts|s3|ssm|ec2) [^`\n]*", page.read_text(encoding="utf-8"))
    assert commands
    assert [command for command in commands if " --region " not in command] == []


def test_servers_stop_before_the_snapshot() -> None:
    text = (TERRAFORM / "README.md").read_text(encoding="utf-8").partition("## Destroy everything")[2]
    assert (
        0
        < text.index("`enabled = false` for every node")
        < text.index("create-snapshot")
        < text.index("terraform destroy")
    )


def test_secret_versions_are_kept_in_a_file() -> None:
    """With -var, the next apply without it would delete the parameters and replace the servers."""
    text = (TERRAFORM / "aws" / "README.md").read_text(encoding="utf-8")
    assert not re.search(r"-var[ =]'?secret_versions", text)
    assert re.search(r"```hcl\nsecret_versions = .*terraform\.tfvars", text)
