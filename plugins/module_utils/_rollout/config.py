# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's configuration file, as role rollout_agent renders it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .notify import Target
from .release import DIGEST, RolloutError

PATH = Path("/etc/billing-rollout.json")
_MODES = ("follow", "pin")


@dataclass(frozen=True)
class Policy:
    """How a service is followed.

    Attributes:
        mode: `follow` its tag, or `pin` it.
        digest: where it is pinned to, '' for whatever is live.
        window: calendar expression of systemd that names the minutes in which a rollout may begin, '' for always.
    """

    mode: str = "follow"
    digest: str = ""
    window: str = ""

    def shown(self) -> str:
        """Return it in a few words."""
        where = f" {self.digest[:19]}" if self.digest else ""
        return f"{self.mode}{where}" + (f" in {self.window}" if self.window else "")

    @classmethod
    def parse(cls, service: str, values: Mapping[str, Any]) -> Policy:
        """Read a policy; RolloutError config_invalid where it is none."""
        policy = cls(**{name: str(values[name]) for name in ("mode", "digest", "window") if name in values})
        wrong = sorted(set(values) - {"mode", "digest", "window"})
        if policy.mode not in _MODES or wrong:
            raise _invalid(
                f"the policy of {service} knows mode ({' or '.join(_MODES)}), digest and window, not {dict(values)}"
            )
        if policy.digest and (policy.mode != "pin" or not DIGEST.fullmatch(policy.digest)):
            raise _invalid(
                f"the digest of {service} goes with mode pin and is sha256: and 64 hex digits, not {policy.digest}"
            )
        return policy


@dataclass(frozen=True)
class Config:
    """All of it.

    Attributes:
        root: folder of the project.
        project: name of the Compose project.
        services: service -> policy.
        interval: seconds between two runs of the timer.
        breaker: how many different images in a row may fail before the agent stops following.
        metrics: file for Prometheus' textfile collector, '' for none.
        targets: who is told how rollouts ended.
    """

    root: Path
    project: str
    services: Mapping[str, Policy] = field(default_factory=dict)
    interval: float = 30.0
    breaker: int = 3
    metrics: str = ""
    targets: tuple[Target, ...] = ()

    @classmethod
    def load(cls, path: Path = PATH) -> Config:
        """Read the file.

        Raises:
            RolloutError: config_missing or config_invalid, with what is wrong.
        """
        try:
            values = json.loads(path.read_text())
            return cls(
                root=Path(values["root"]),
                project=str(values["project"]),
                services={service: Policy.parse(service, entry) for service, entry in values["services"].items()},
                interval=float(values["interval"]),
                breaker=int(values["breaker"]),
                metrics=str(values["metrics"]),
                targets=tuple(map(Target.parse, values["targets"])),
            )
        except PermissionError as error:
            raise RolloutError("config_missing", f"only root may read {path}; use sudo") from error
        except FileNotFoundError as error:
            raise RolloutError("config_missing", f"{path} is not there; role rollout_agent writes it") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _invalid(f"{path}: {type(error).__name__} {error}") from error


def _invalid(what: str) -> RolloutError:
    return RolloutError("config_invalid", f"{what}; run the playbook, or repair it")
