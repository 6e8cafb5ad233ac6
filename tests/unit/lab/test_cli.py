# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""What the command line accepts and what it makes of it."""

from __future__ import annotations

import argparse

import pytest

from tests.lab.cli import main, parse_host, parse_pair, parser


def test_pairs_keep_further_equals_signs_and_empty_values() -> None:
    assert parse_pair("URL=postgresql://x/?a=b") == ("URL", "postgresql://x/?a=b")
    assert parse_pair("EMPTY=") == ("EMPTY", "")


@pytest.mark.parametrize("text", ["", "KEY", "=value"])
def test_a_pair_without_key_or_equals_sign_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="KEY=VALUE"):
        parse_pair(text)


def test_a_host_may_come_with_an_address() -> None:
    assert parse_host("api1") == ("api1", None)
    assert parse_host("api1=10.77.0.20") == ("api1", "10.77.0.20")


def test_a_remote_command_keeps_its_own_options() -> None:
    options = parser().parse_args(["--name", "x", "ssh", "api1", "ls", "-l", "--all"])
    assert (options.name, options.host, options.remote) == ("x", "api1", ["ls", "-l", "--all"])


def test_a_variant_takes_several_variables() -> None:
    options = parser().parse_args(["push", "billing-api:bad", "--env", "A=1", "--env", "B="])
    assert dict(options.env) == {"A": "1", "B": ""}


@pytest.mark.parametrize("words", [[], ["host"], ["host", "add"], ["registry", "restart"], ["ssh"]])
def test_an_incomplete_command_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(words)


@pytest.mark.parametrize("name", ["", "Demo", "1lab", "../up", "a" * 31, "a b"])
def test_a_name_that_cannot_name_a_container_is_one_readable_error(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--name", name, "status"]) == 1
    assert "lower-case letters" in capsys.readouterr().err
