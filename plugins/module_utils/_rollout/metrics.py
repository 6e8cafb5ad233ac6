# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics for the textfile collector of Prometheus' node exporter.

Source: Prometheus' documentation of exposition formats, text format 0.0.4. The collector takes no timestamps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .clock import instant
from .release import RolloutError
from .store import write_atomic

_PREFIX = "billing_rollout_"
_HELP = {
    "last_run_timestamp_seconds": "When these metrics were written, which the agent does in every run.",
    "release_info": "The live release; always 1.",
    "healthy": "Whether every container of the live release runs and is healthy, and it is known which one is live.",
    "last_outcome": "How the last entry of the history ended; always 1.",
    "last_timestamp_seconds": "When the last entry of the history was written.",
    "phase_seconds": "How long each phase of the last entry of the history took.",
    "consecutive_failures": "Looks at the registry, or tries to begin a rollout, in a row that failed.",
    "last_check_timestamp_seconds": "When the registry answered last.",
    "candidate": "A digest that the tag names and that is not live, and why not; always 1.",
    "quarantined": "Releases that failed and are not tried again.",
    "held": "Whether the service is not followed, by a person or the circuit breaker.",
    "breaker_open": "Whether the circuit breaker has stopped following the service.",
}
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_Sample = tuple[str, Mapping[str, str], float]  # Name without the prefix, labels, value.


def render(status: Mapping[str, Any], now: float) -> str:
    """Return the status as metrics.

    Args:
        status: what `billing-rollout status --json` prints.
        now: seconds since 1970.
    """
    samples: list[_Sample] = [("last_run_timestamp_seconds", {}, now)]
    for service, one in status["services"].items():
        refused = [entry for entry in status["quarantine"] if entry["release"].startswith(f"{service}/")]
        samples += ((name, {"service": service, **labels}, value) for name, labels, value in _samples(one))
        samples.append(("quarantined", {"service": service}, len(refused)))
    samples += (("healthy", {"service": service}, 0) for service in status["damaged"])
    lines = []
    for family, meaning in _HELP.items():
        mine = [f"{_PREFIX}{name}{_labels(labels)} {value!r}" for name, labels, value in samples if name == family]
        if mine:
            lines += [f"# HELP {_PREFIX}{family} {meaning}", f"# TYPE {_PREFIX}{family} gauge", *mine]
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> None:
    """Replace the file of metrics, so that a reader sees the old or the new one.

    Raises:
        RolloutError: metrics_failed, where it cannot be written.
    """
    try:
        write_atomic(path, text.encode(), 0o644)
    except OSError as error:
        raise RolloutError(
            "metrics_failed",
            f"cannot write metrics to {path}: {error.strerror}; its directory must exist (the node exporter's "
            "--collector.textfile.directory), see rollout_agent_metrics_file",
            {"path": str(path)},
        ) from error


def _samples(one: Mapping[str, Any]) -> Iterator[_Sample]:
    """Return what is known of a service."""
    live, last, candidate = one["live"], one["last"], one["candidate"]
    if live:
        yield "release_info", {"digest": live["digest"], "release": live["id"], "slot": one["slot"]}, 1
    yield "healthy", {}, int(one["healthy"])
    if last:
        yield "last_outcome", {"outcome": last["outcome"]}, 1
        yield "last_timestamp_seconds", {}, instant(last["at"])
    for phase, seconds in one["seconds"].items():
        yield "phase_seconds", {"phase": phase}, seconds
    yield "consecutive_failures", {}, one["failures"]
    if one["checked_at"]:
        yield "last_check_timestamp_seconds", {}, instant(one["checked_at"])
    if candidate:
        yield "candidate", {"digest": candidate["digest"], "code": candidate["code"]}, 1
    yield "held", {}, int(one["held"])
    yield "breaker_open", {}, int(one["breaker"])


def _labels(labels: Mapping[str, str]) -> str:
    said = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())
    return f"{{{said}}}" if said else ""
