# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Logs: one JSON object a line on standard output, with the database's password taken out of whatever is said."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote, quote_plus

from sqlalchemy.engine import URL

_URL_PASSWORD = re.compile(r"(\w://[^\s:/@]*):[^\s/@]+@")
_SHORTEST_SECRET = 6  # replacing a shorter one would garble ordinary words and reveal it by the gaps


class JsonFormatter(logging.Formatter):
    """Writes a record as JSON: time, level, logger, message, the constant fields, and `extra={"data": {...}}`."""

    def __init__(self, fields: Mapping[str, str], secrets: Sequence[str] = ()) -> None:
        super().__init__()
        self._fields = dict(fields)
        self._secrets = sorted((s for s in secrets if len(s) >= _SHORTEST_SECRET), key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redact(record.getMessage()),
            **self._fields,
        }
        data = getattr(record, "data", None)
        if isinstance(data, Mapping):
            line.update({key: self._redact(value) if isinstance(value, str) else value for key, value in data.items()})
        if record.exc_info:
            line["exception"] = self._redact(self.formatException(record.exc_info))
        return json.dumps(line, default=str)

    def _redact(self, text: str) -> str:
        text = _URL_PASSWORD.sub(r"\1:***@", text)
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def secrets_of(url: URL | None) -> list[str]:
    """List the spellings in which the address's password could turn up in a message."""
    password = str(url.password) if url is not None and url.password else ""
    return sorted({password, quote(password, safe=""), quote_plus(password), repr(password)[1:-1]} - {""})


def configure(level: str = "INFO", fields: Mapping[str, str] | None = None, secrets: Sequence[str] = ()) -> None:
    """Send everything that the process logs through the JSON formatter, uvicorn's and Alembic's loggers included."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(fields or {}, secrets))
    logging.basicConfig(level=level, handlers=[handler], force=True)
