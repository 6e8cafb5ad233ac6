# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""Secrets: read where they are given, handed on so that Ansible takes none for a template."""

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any

from .host import AWS_SECONDS, NotReadyError, WaitingError, aws, run


def read_secrets(secrets: dict[str, Any], region: "str | None") -> dict[str, Any]:
    """Return the secret variables of the deployment that do not come from the roles themselves."""
    found: dict[str, Any] = {}
    if secrets["source"] == "file":
        found = _from_file(secrets["path"])
    elif secrets["source"] == "ssm":
        found = _from_ssm(secrets["path"], region)
    missing = [name for name in secrets["required"] if name not in found]
    if missing:
        raise WaitingError(
            f"{', '.join(missing)} missing in {secrets['source']} {secrets['path']}: put the value there"
        )
    return found


def _from_file(path: str) -> dict[str, Any]:
    try:
        with Path(path).open() as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            content = json.load(file)
    except FileNotFoundError as error:
        raise WaitingError(
            f"the secrets {path} are not there: put a JSON object of variables there, mode 0600"
        ) from error
    except (OSError, ValueError) as error:
        raise NotReadyError(
            f"the secrets {path} cannot be read: {type(error).__name__}; it is a JSON object"
        ) from error
    if mode & 0o077 or not isinstance(content, dict):
        raise NotReadyError(
            f"the secrets {path} have mode {mode:04o}: it must be a JSON object that root alone reads, 0600"
        )
    return content


def _from_ssm(path: str, region: "str | None") -> dict[str, Any]:
    command = ["ssm", "get-parameters-by-path", "--path", path, "--recursive", "--with-decryption", "--output", "json"]
    done = run(aws(*command, region=region), AWS_SECONDS)
    if done.returncode != 0:
        raise WaitingError(f"the parameters below {path} cannot be read: {done.stderr.strip()[-500:]}")
    parameters = json.loads(done.stdout or "{}").get("Parameters", [])
    if not parameters:
        raise WaitingError(f"there is no parameter below {path}: create {path}/NAME for every secret variable NAME")
    return {parameter["Name"].rpartition("/")[2]: _value(parameter["Value"]) for parameter in parameters}


def _value(text: str) -> Any:
    """Read a JSON object or list as such; everything else is the text itself."""
    if text.lstrip()[:1] in ("{", "["):
        with contextlib.suppress(ValueError):
            return json.loads(text)
    return text


def unsafe_yaml(value: Any) -> str:
    """Write a value as YAML in which every text is marked: Ansible then takes no password for a template."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(str(key))}: {unsafe_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(unsafe_yaml(item) for item in value) + "]"
    return f"!unsafe {_quoted(value)}" if isinstance(value, str) else json.dumps(value)


def texts(value: Any) -> "list[str]":
    """Return every text in a value."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [value] if isinstance(value, str) else []


def _quoted(text: str) -> str:
    """Write a text as JSON and YAML both read it; YAML knows no pairs of surrogates."""
    pair = re.compile(r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}")
    return pair.sub(lambda found: f"\\U{ord(json.loads(chr(34) + found[0] + chr(34))):08x}", json.dumps(text))
