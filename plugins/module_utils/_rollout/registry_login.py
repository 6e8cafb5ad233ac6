# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The login for a registry, from where the Docker client keeps it: config.json or a credential helper."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .release import RolloutError

# How the Docker client names Docker Hub in its config.json, and what else people write there.
_HUB_KEY = "https://index.docker.io/v1/"
_HUB_HOSTS = ("docker.io", "index.docker.io")


@dataclass(frozen=True)
class Login:
    """What proves to a registry who asks; both are '' for nobody.

    Attributes:
        basic: base64 of `user:password`.
        identity_token: refresh token, given by a registry at `docker login` instead of keeping the password.
    """

    basic: str = ""
    identity_token: str = ""


def credentials(registry: str, config: Path, timeout: float = 10.0) -> Login:
    """Return the login for a registry from Docker's config.json or its credential helper.

    Args:
        registry: `host` or `host:port`; Docker Hub is `docker.io`.
        config: path of config.json.
        timeout: seconds for a credential helper.

    Raises:
        RolloutError: config_invalid, registry_unauthorized (the credential helper failed).
    """
    content = read_json(config)
    try:
        helper = _entry(content.get("credHelpers") or {}, registry) or content.get("credsStore")
        if helper:
            return _ask_helper(str(helper), _HUB_KEY if registry == "docker.io" else registry, timeout)
        entry = _entry(content.get("auths") or {}, registry) or {}
        basic = str(entry.get("auth") or "")
        if not basic and entry.get("username"):
            basic = _basic(str(entry["username"]), str(entry.get("password") or ""))
        return Login(basic, str(entry.get("identitytoken") or ""))
    except (AttributeError, TypeError) as error:
        raise RolloutError("config_invalid", f"{config} is not a Docker client's: {error}; repair it") from error


def _entry(entries: Mapping[str, Any], registry: str) -> Any:
    """Return what is kept for a registry under its name or, as older clients wrote it, as `https://name/v1/`."""
    names = _HUB_HOSTS if registry == "docker.io" else (registry,)
    exact = _HUB_KEY if registry == "docker.io" else registry
    if exact in entries:
        return entries[exact]
    by_host = (value for key, value in entries.items() if re.sub("^https?://", "", key).partition("/")[0] in names)
    return next(by_host, None)


def _ask_helper(helper: str, key: str, timeout: float) -> Login:
    """Ask a credential helper; source: github.com/docker/docker-credential-helpers."""
    said = ""
    try:
        answer = subprocess.run(  # pylint: disable=ansible-bad-function
            [f"docker-credential-{helper}", "get"],
            input=key,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        said = answer.stdout
        if answer.returncode != 0 and "credentials not found" in said:
            return Login()
        values = json.loads(said)
        name, secret = str(values["Username"]), str(values["Secret"])
    except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError) as error:
        raise RolloutError(
            "registry_unauthorized",
            f"the credential helper docker-credential-{helper} gave nothing for {key}; run it by hand to see why",
            {"helper": helper},
        ) from error
    return Login(identity_token=secret) if name == "<token>" else Login(_basic(name, secret))


def _basic(name: str, password: str) -> str:
    return base64.b64encode(f"{name}:{password}".encode()).decode()


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object from a file, {} where there is none."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RolloutError("config_invalid", f"{path} is not readable JSON: {error}; repair or remove it") from error
    return content if isinstance(content, dict) else {}
