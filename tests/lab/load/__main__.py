# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""``python3 -m tests.lab.load``: load on a service until time is up, standard input is closed, or SIGTERM comes."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.lab.load.client import Target, run_load
from tests.lab.load.records import HTTP2, SHAPES
from tests.lab.load.summary import summarise
from tests.lab.shell import LabError, say


def parse_shapes(text: str) -> list[str]:
    """Names of shapes with commas between them."""
    names = text.split(",")
    if unknown := set(names) - set(SHAPES):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not among {', '.join(SHAPES)}")
    return names


def parser() -> argparse.ArgumentParser:
    """Every option."""
    top = argparse.ArgumentParser(
        prog="python3 -m tests.lab.load", description="Clients that repeat nothing that may have been taken."
    )
    top.add_argument("--address", required=True)
    top.add_argument("--ca", type=Path, help="speak TLS, trust this authority (PEM)")
    top.add_argument("--port", type=int, help="default: 80, with --ca 443")
    top.add_argument("--shapes", type=parse_shapes, default=list(SHAPES[:3]), help=f"of {','.join(SHAPES)}")
    top.add_argument("--connections", type=int, default=10, help="users per shape (default: %(default)s)")
    top.add_argument("--timeout", type=float, default=60, help="seconds for one request (default: %(default)s)")
    top.add_argument("--delay-ms", type=float, default=0, help="of the network, in each direction")
    top.add_argument("--seconds", type=float, help="how long; default: until standard input is closed")
    top.add_argument("--output", type=Path, required=True, help="file for the records of the requests")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the load; print ``begun``, and a summary at the end."""
    options = parser().parse_args(arguments)
    if HTTP2 in options.shapes and options.ca is None:
        parser().error("http2 wants --ca: browsers speak it over TLS only, and so do we")
    try:
        asyncio.run(_run(options))
        print(json.dumps(summarise(options.output).as_dict(), indent=2))
    except LabError as error:
        say(str(error))
        return 1
    return 0


async def _run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)

    def wait_for_end_of_input() -> None:
        while os.read(0, 4096):
            pass
        loop.call_soon_threadsafe(stop.set)

    def begun() -> None:
        print("begun", flush=True)
        if options.seconds is None:
            threading.Thread(target=wait_for_end_of_input, daemon=True).start()
        else:
            loop.call_later(options.seconds, stop.set)

    port = options.port or (443 if options.ca else 80)
    target = Target(options.address, port, options.ca, options.delay_ms)
    await run_load(target, options.shapes, options.connections, options.timeout, stop, options.output, begun)


if __name__ == "__main__":
    sys.exit(main())
