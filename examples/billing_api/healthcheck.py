# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The image's health check: `python -I -S /app/healthcheck.py [PATH]` ends with 0 if PATH (/health) answers 200.

A file of its own that imports little: it runs every half second while a container starts.
"""

import http.client
import os
import sys


def main() -> int:
    """Ask the server of this container once, for at most 4 seconds."""
    path = sys.argv[1] if len(sys.argv) > 1 else "/health"
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("BILLING_PORT") or 8000), timeout=4)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read(500).decode(errors="replace")
    except OSError as error:
        text, answer = f"no answer: {error}", None
    print(text)  # noqa: T201 (`docker inspect` shows it)
    return 0 if answer is not None and answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
