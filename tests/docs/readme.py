# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Read the commands and files out of README.md, by the comment that stands before each block.

`<!-- run: docs -->`: run by the docs suite. `<!-- run: server -->`: run against a lab host by the integration suite.
`<!-- run: by hand, REASON -->`: not run. `<!-- file: PATH -->`: the content of a file that the commands use.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """One fenced block. `kind` is run, file, or empty."""

    language: str
    kind: str
    argument: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The command lines, continued lines joined."""
        return [line for line in self.text.replace("\\\n", " ").splitlines() if line.strip()]


def blocks() -> list[Block]:
    """Return all fenced blocks of the README in their order."""
    found = []
    for match in FENCE.finditer(README):
        kind, _colon, argument = (match["mark"] or "").partition(": ")
        found.append(Block(match["language"], kind, argument, match["text"]))
    return found


def commands(where: str) -> list[str]:
    """Return the commands that are to be run there."""
    return [line for block in blocks() if (block.kind, block.argument) == ("run", where) for line in block.commands]


def files() -> dict[str, str]:
    """Return the files that the README tells the reader to write."""
    return {block.argument: block.text for block in blocks() if block.kind == "file"}
