# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""A run of the client as a context: it has a process of its own, so that what a test does cannot disturb it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.load.records import SHAPES
from tests.lab.load.summary import Span, Summary, summarise
from tests.lab.shell import LabError

_ROOT = Path(__file__).parents[3]


class Load:
    """Puts load on a service as long as the context lasts; ``result`` is there afterwards.

    Args:
        address: of the service.
        folder: for the client's files.
        shapes: kinds of clients, of ``SHAPES``; ``http2`` wants ``ca``.
        connections: users per shape.
        ca: certificate of the authority (PEM); with it all shapes speak TLS, because port 80 only redirects then.
        port: where it listens; default: 80, with ``ca`` 443.
        delay_ms: milliseconds that the network takes in each direction, by a proxy.
        timeout: seconds in which a request must be answered.

    To learn which slot answered a request let Nginx say so: ``nginx_extra_config`` with
    ``add_header X-Billing-Upstream $upstream_addr always;`` fills ``served_by``.

    Raises:
        LabError: the load could not begin, or the client did not end in order.
    """

    def __init__(
        self,
        address: str,
        *,
        folder: Path,
        shapes: Sequence[str] = SHAPES[:3],
        connections: int = 10,
        ca: Path | None = None,
        port: int | None = None,
        delay_ms: float = 0,
        timeout: float = 60,
    ) -> None:
        self.output = folder / "requests.jsonl"
        self._errors = folder / "client.log"
        self._timeout = timeout
        self._spans: list[Span] = []
        self._argv = [sys.executable, "-m", "tests.lab.load", "--address", address, "--shapes", ",".join(shapes)]
        self._argv += ["--connections", str(connections), "--timeout", str(timeout), "--delay-ms", str(delay_ms)]
        self._argv += ["--output", str(self.output)]
        self._argv += ["--ca", str(ca)] if ca else []
        self._argv += ["--port", str(port)] if port else []

    @contextmanager
    def operation(self, name: str) -> Iterator[None]:
        """Mark the time of an operation; ``result`` tells the requests that overlap it from the others.

        Operations of the same name, one after the other, are counted together.
        """
        began = time.monotonic()
        try:
            yield
        finally:
            self._spans.append(Span(name, began, time.monotonic()))

    @cached_property
    def result(self) -> Summary:
        """What the client saw. Only after the context."""
        return summarise(self.output, self._spans)

    def __enter__(self) -> Self:
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self.output.unlink(missing_ok=True)
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                self._argv, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "begun\n":
            self._process.wait()
            raise self._failed()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # Closes its standard input, which is the sign to stop; requests under way end first
            self._process.communicate(timeout=self._timeout + 30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.returncode != 0 and error is None:
            raise self._failed()

    def _failed(self) -> LabError:
        said = self._errors.read_text()[-2000:].strip()
        return LabError(f"the load's client ended with {self._process.returncode}: {said}")
