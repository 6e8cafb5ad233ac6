# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The ledger: what the database has, compared id by id with what the client was told."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.hosts import Host
from tests.lab.load.exchange import OK
from tests.lab.load.records import Record, read_records, read_run
from tests.lab.shell import LabError

_SHOWN = 10


@dataclass(frozen=True)
class Finding:
    """How many ids, and the first few of them."""

    count: int
    first: tuple[str, ...]

    @classmethod
    def of(cls, ids: Iterable[str]) -> Finding:
        """Count them."""
        ordered = sorted(ids)
        return cls(len(ordered), tuple(ordered[:_SHOWN]))


@dataclass(frozen=True)
class Ledger:
    """Client and database compared.

    Attributes:
        acknowledged: requests that were answered with 201.
        rows: invoices of this run in the database.
        lost: acknowledged, but not in the database.
        duplicated: in the database more than once.
        unacknowledged: in the database although the client saw a failure; allowed, an answer can be lost on its way.
        unknown: in the database, but never sent according to the client.
    """

    acknowledged: int
    rows: int
    lost: Finding
    duplicated: Finding
    unacknowledged: Finding
    unknown: Finding

    @property
    def balanced(self) -> bool:
        """Whether every acknowledged request was executed once, and no other more than once."""
        return not (self.lost.count or self.duplicated.count or self.unknown.count)


def compare(records: Iterable[Record], rows: Iterable[tuple[str, int]]) -> Ledger:
    """Compare what the client recorded with (id, number of rows) of the database."""
    acknowledged: set[str] = set()
    failed: set[str] = set()
    for record in records:
        (acknowledged if record.outcome == OK else failed).add(record.id)
    counts = dict(rows)
    return Ledger(
        acknowledged=len(acknowledged),
        rows=sum(counts.values()),
        lost=Finding.of(acknowledged - counts.keys()),
        duplicated=Finding.of(identity for identity, count in counts.items() if count > 1),
        unacknowledged=Finding.of(failed & counts.keys()),
        unknown=Finding.of(counts.keys() - acknowledged - failed),
    )


def reconcile(host: Host, output: Path, project: str = "billing", database: str = "billing") -> Ledger:
    """Compare a run that has ended with the database on this lab host.

    Args:
        host: where the Compose project runs.
        output: the run's file.
        project: name of the Compose project.
        database: name of the database.

    Raises:
        LabError: the run has no end, or the database does not answer.
    """
    command = [*host.ssh_command(), remote_command(read_run(output).ids, project, database)]
    return compare(read_records(output), read_rows(command))


def remote_command(ids: str, project: str, database: str) -> str:
    """Build the command that prints ``id<TAB>rows`` for every id that begins with ``ids``."""
    rows = f"SELECT description, count(*) FROM invoices WHERE starts_with(description, '{ids}') GROUP BY 1"  # noqa: S608
    labels = f"--filter label=com.docker.compose.project={project} --filter label=com.docker.compose.service=postgres"
    psql = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database]
    psql += ["-c", f"COPY ({rows}) TO STDOUT"]
    return f'docker exec "$(docker ps --quiet {labels})" {shlex.join(psql)}'


def read_rows(command: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Run the command and yield its lines as they come.

    Raises:
        LabError: it failed; what it printed until then counts for nothing.
    """
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            identity, _tab, count = line.rstrip("\n").rpartition("\t")
            yield identity, int(count)
        if process.wait() != 0:
            errors.seek(0)
            raise LabError(f"the ledger cannot be read from the database: {errors.read()[-1000:].strip()}")
