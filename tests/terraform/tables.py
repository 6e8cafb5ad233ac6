# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The tables of inputs and outputs in terraform/aws/README.md, made from the .tf files.

python -m tests.terraform.tables
"""

from __future__ import annotations

import json
import re
from pathlib import Path

AWS = Path(__file__).resolve().parents[2] / "terraform" / "aws"
# Files are formatted (a test says so): a block ends with a brace at the start of a line, arguments have two blanks.
BLOCK = r'^{kind} "(\w+)" \{{\n(.*?)^\}}'
ATTRIBUTE = re.compile(r"^    (\w+)\s+= (optional\()?(.+?)\s+# (.+)$", re.MULTILINE)


def blocks(kind: str, folder: Path) -> dict[str, str]:
    """Return the bodies of all blocks of a kind, in the order of the files."""
    pattern = re.compile(BLOCK.format(kind=kind), re.MULTILINE | re.DOTALL)
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.tf")))
    return dict(pattern.findall(text))


def argument(body: str, name: str) -> str | None:
    """Return what an argument is set to: the rest of its line, and those below that are indented further."""
    found = re.search(rf"^  {name}\s+= (.*(?:\n    .*|\n  [}}\])].*)*)$", body, re.MULTILINE)
    return found[1] if found else None


def description(body: str) -> str:
    """Return the description, as a cell of a table."""
    return str(json.loads(argument(body, "description") or '""')).replace("|", "\\|")


def kind(written: str) -> str:
    """Return a type in words: objects are told of elsewhere."""
    for begin, said in (("map(object(", "map of objects"), ("object(", "object")):
        if written.startswith(begin):
            return said
    return re.sub(r"^(\w+)\((\w+)\)$", r"\1 of \2s", written)


def inputs(folder: Path) -> str:
    """Return the table of variables."""
    rows = ["| Name | Type | Default | What it is |", "|---|---|---|---|"]
    for name, body in blocks("variable", folder).items():
        default = argument(body, "default")
        shown = "required" if default is None else f"`{default}`"
        rows.append(f"| `{name}` | {kind(argument(body, 'type') or 'any')} | {shown} | {description(body)} |")
    return "\n".join(rows)


def nodes(folder: Path) -> str:
    """Return the table of a node's attributes, which comments in the type describe."""
    rows = ["| Attribute | Type | Default | What it is |", "|---|---|---|---|"]
    for name, _type, written, comment in ATTRIBUTE.findall(argument(blocks("variable", folder)["nodes"], "type") or ""):
        found = re.match(r"([\w()]+?)(?:, (.*))?\)$", written)
        assert found, written
        rows.append(f"| `{name}` | {kind(found[1])} | `{found[2] or 'null'}` | {comment} |")
    return "\n".join(rows)


def outputs(folder: Path) -> str:
    """Return the table of outputs."""
    rows = ["| Name | What it is |", "|---|---|"]
    rows += [f"| `{name}` | {description(body)} |" for name, body in blocks("output", folder).items()]
    return "\n".join(rows)


def renewed(readme: str, folder: Path) -> str:
    """Return the page with the tables as the .tf files have them now."""
    for name, table in {"inputs": inputs(folder), "nodes": nodes(folder), "outputs": outputs(folder)}.items():
        begin, end = f"<!-- {name}: made by tests.terraform.tables -->\n", f"\n<!-- end of {name} -->"
        before, rest = readme.split(begin)
        readme = f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"
    return readme


if __name__ == "__main__":
    page = AWS / "README.md"
    page.write_text(renewed(page.read_text(encoding="utf-8"), AWS), encoding="utf-8")
