# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""A variant of an image is the same image with other environment variables."""

from __future__ import annotations

from tests.lab.push import with_environment

IMAGE = {"rootfs": {"diff_ids": ["sha256:1"]}, "config": {"Env": ["PATH=/bin", "FAULT=none"], "User": "1000"}}


def test_variables_are_added_and_replaced_and_nothing_else_changes() -> None:
    variant = with_environment(IMAGE, {"FAULT": "never=healthy", "NEW": ""})
    assert variant["config"] == {"Env": ["PATH=/bin", "FAULT=never=healthy", "NEW="], "User": "1000"}
    assert variant["rootfs"] == IMAGE["rootfs"]


def test_the_original_is_left_alone() -> None:
    with_environment(IMAGE, {"FAULT": "x"})
    assert IMAGE["config"] == {"Env": ["PATH=/bin", "FAULT=none"], "User": "1000"}


def test_an_image_without_any_environment_gets_one() -> None:
    assert with_environment({}, {"A": "1"})["config"] == {"Env": ["A=1"]}
