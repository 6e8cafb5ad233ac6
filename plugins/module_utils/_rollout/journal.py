# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of systemd's journal with fields, so that `journalctl BILLING_OUTCOME=rejected` finds them.

Source: systemd.io/JOURNAL_NATIVE_PROTOCOL, systemd.journal-fields(7).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SOCKET = Path("/run/systemd/journal/socket")
CRITICAL, ERROR, WARNING, NOTICE = 2, 3, 4, 5  # Priorities of syslog.
_PRIORITIES = {
    "live": NOTICE,
    "healed": WARNING,
    "abandoned": WARNING,
    "rejected": ERROR,
    "rolled_back": ERROR,
    "failed": CRITICAL,
    "breaker_open": CRITICAL,
}
_LARGEST = 48 << 10  # Bytes of an entry: a socket takes a datagram of this size with the kernel's default settings.
_LARGEST_FACT = 1 << 10  # Bytes of a field beside the message.
_PATIENCE = 1.0  # Seconds that a journal may take to accept an entry.


def priority(entry: Mapping[str, Any]) -> int:
    """Return how grave an entry of the history is, as syslog counts it; warning for an outcome that is not known."""
    return _PRIORITIES.get(entry["outcome"], WARNING)


def sentence(entry: Mapping[str, Any], host: str = "") -> str:
    """Return an entry of the history for a person, in one line.

    Args:
        entry: what happened.
        host: where, '' where the reader knows.
    """
    before, after = ((entry[end] or {}).get("id", "nothing") for end in ("before", "after"))
    took = _total(entry)
    facts = (
        f"{entry['kind']} {after}" if before == after else f"{entry['kind']} {before} -> {after}",
        f"{took:.1f} s" if took else "",
        f"by {entry['actor']}" if entry.get("actor") else "",
    )
    why = ": ".join(filter(None, (entry.get("failure"), entry.get("message"))))
    where = f" on {host}" if host else ""
    said = f"{entry['service']} {entry['outcome'].replace('_', ' ')}{where}: {', '.join(filter(None, facts))}"
    return " ".join((f"{said}; {why}" if why else said).split())


def entry_fields(entry: Mapping[str, Any]) -> tuple[str, int, dict[str, str]]:
    """Return message, priority and fields for an entry of the history; what is empty is left out."""
    after = entry["after"] or {}
    fields = {
        "BILLING_SERVICE": entry["service"],
        "BILLING_KIND": entry["kind"],
        "BILLING_OUTCOME": entry["outcome"],
        "BILLING_FAILURE": entry.get("failure"),
        "BILLING_RELEASE": after.get("id"),
        "BILLING_DIGEST": after.get("digest"),
        "BILLING_RELEASE_BEFORE": (entry["before"] or {}).get("id"),
        "BILLING_SLOT": entry.get("slot"),
        "BILLING_ACTOR": entry.get("actor"),
        "BILLING_ROLLOUT_ID": entry["id"],
        "BILLING_SECONDS": f"{_total(entry):.3f}",
    }
    return sentence(entry), priority(entry), {name: value for name, value in fields.items() if value}


def send(message: str, priority: int, fields: Mapping[str, str], to: Path = SOCKET) -> None:
    """Write an entry; it never fails and never waits for long.

    What is too long is cut. Where there is no journal, or it does not listen, the message alone goes to standard error
    with the priority before each line, as systemd understands it there too.

    Args:
        message: for a person.
        priority: 0 (emergency) to 7 (debug).
        fields: by name: upper case letters, digits and `_`.
        to: socket of the journal.
    """
    facts = {"PRIORITY": str(priority), "SYSLOG_IDENTIFIER": "billing-rollout", **fields}
    entry = b"".join(_encoded(name, value, _LARGEST_FACT) for name, value in facts.items())
    entry += _encoded("MESSAGE", message, _LARGEST - len(entry) - len("MESSAGE\n12345678\n"))
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
            journal.settimeout(_PATIENCE)
            journal.sendto(entry, str(to))
    except OSError:
        with contextlib.suppress(OSError):
            sys.stderr.write("".join(f"<{priority}>{line}\n" for line in message.splitlines()))
            sys.stderr.flush()


def _total(entry: Mapping[str, Any]) -> float:
    return float(sum(entry.get("seconds", {}).values()))


def _encoded(name: str, value: str, most: int) -> bytes:
    """Return a field of `most` bytes at the most: a value with line breaks goes with its length before it."""
    data = value.encode(errors="replace")[:most].decode(errors="ignore").encode()
    if b"\n" in data:
        return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(data)), data)
    return b"%s=%s\n" % (name.encode(), data)
