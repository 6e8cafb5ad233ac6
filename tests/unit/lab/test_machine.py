# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The package mirror of this machine is found in its apt sources, in both of their styles."""

from __future__ import annotations

import pytest

from tests.lab.machine import DEFAULT_MIRROR, DEFAULT_SECURITY, find_mirrors

DEB822 = """\
Types: deb
# http://snapshot.example/archive/debian
URIs: http://mirror.example/debian/
Suites: bookworm

Types: deb
URIs: https://mirror.example/debian-security
Suites: bookworm-security
"""


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ([], (DEFAULT_MIRROR, DEFAULT_SECURITY)),
        ([DEB822], ("http://mirror.example/debian", "https://mirror.example/debian-security")),
        (
            ["deb [signed-by=/k.gpg] http://a.example/debian trixie main\n"],
            ("http://a.example/debian", DEFAULT_SECURITY),
        ),
        (["# deb http://a.example/debian trixie main\n"], (DEFAULT_MIRROR, DEFAULT_SECURITY)),
        (["deb http://archive.ubuntu.com/ubuntu noble main\n"], (DEFAULT_MIRROR, DEFAULT_SECURITY)),
        (["deb file:/media/debian trixie main\n"], (DEFAULT_MIRROR, DEFAULT_SECURITY)),
    ],
    ids=["none", "deb822", "one line", "comment", "another distribution", "not http"],
)
def test_mirrors_come_from_the_apt_sources(sources: list[str], expected: tuple[str, str]) -> None:
    assert find_mirrors(sources) == expected
