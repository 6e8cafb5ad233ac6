# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `billing-rollout`: what it can be asked."""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import config, knock
from .agent_state import AgentState
from .commands import FAILED, REJECTED, Commands
from .config import Config
from .engine import host_engine
from .release import DIGEST, RolloutError

_EPILOG = """\
exit codes: 0 done, or live; 1 failed; 2 wrong use; 3 the release was rejected or rolled back; 4 not in time
"""


class Progress:
    """Tells what is being done: one line that is written over on a terminal, plain lines everywhere else."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._pending = False

    def __call__(self, line: str) -> None:
        said = f"{time.monotonic() - self._started:6.1f} s  {line}"
        with contextlib.suppress(OSError):  # Nobody listens any more: no reason to stop half way.
            if self._terminal:
                columns = os.get_terminal_size(sys.stderr.fileno()).columns
                sys.stderr.write(f"\r\033[K{said[: columns - 1]}")
                self._pending = True
            else:
                sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    def end(self) -> None:
        """Leave the line for what comes next."""
        if self._pending:
            with contextlib.suppress(OSError):
                sys.stderr.write("\r\033[K")
            self._pending = False


def parser() -> argparse.ArgumentParser:
    """Return every command and option."""
    top = argparse.ArgumentParser(
        prog="billing-rollout",
        description="Follow image tags, roll out, roll back, and tell what runs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--config", type=Path, default=config.PATH, help="configuration file (default: %(default)s)")
    actions = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, summary: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")

    def of_service(name: str, summary: str) -> argparse.ArgumentParser:
        added = command(name, summary)
        added.add_argument("service", nargs="?", default="api", help="service (default: %(default)s)")
        return added

    status = command("status", "what runs, what is waiting, and what is refused")
    status.add_argument("--json", action="store_true", help="everything that is known, for programs")
    check = command("check", "look at the registry now, roll out what is new, mend what drifted")
    check.add_argument("--scheduled", action="store_true", help="as the timer does: wait after failures")
    apply = of_service("apply", "roll out what the tag names now, also where the service is held")
    apply.add_argument(
        "--digest", type=_digest, default="", help="roll out this digest (sha256:...) of the same image instead"
    )
    apply.add_argument("--force", action="store_true", help="also a release in quarantine, or an older image")
    of_service("rollback", "go back to the last good release before the live one; no registry is asked")
    of_service("restart", "make the containers anew from the live release, gated on health")
    history = command("history", "how rollouts ended: who, what, when, how long")
    history.add_argument("service", nargs="?", default="", help="only of this service")
    history.add_argument("-n", "--count", type=int, default=20, help="at most so many (default: %(default)s)")
    history.add_argument("--json", action="store_true", help="one JSON object per line")
    hold = of_service("hold", "stop following a service; what runs goes on")
    hold.add_argument("--reason", default="", help="told to whoever looks")
    of_service("resume", "follow a service again; closes the circuit breaker")
    quarantine = command("quarantine", "list the releases that failed, or give one another chance")
    quarantine.add_argument("action", nargs="?", choices=["list", "clear"], default="list")
    quarantine.add_argument("release", nargs="?", default="", help="SERVICE/RELEASE as listed; without it, all of them")
    wait = of_service("wait", "wait until a digest is live or refused; the exit code tells")
    wait.add_argument("--digest", type=_digest, required=True, help="sha256:...")
    wait.add_argument("--timeout", type=float, default=600.0, help="seconds (default: %(default).0f)")
    command("doctor", "what would stop a rollout now: disk, memory, registry, clock, Docker, Nginx, timer")
    receive = command("receive", "answer knocks on the socket that systemd passes (started by systemd)")
    knock.add_options(receive)
    return top


def _digest(text: str) -> str:
    if text and not DIGEST.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not sha256: and 64 hex digits")
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments ask for and return the exit code."""
    options = parser().parse_args(arguments)
    if options.command == "receive":
        return knock.serve(options)
    progress = Progress()
    try:
        settings = Config.load(options.config)
        engine = host_engine(settings.root, settings.project, progress, actor=_actor(options))
        return Commands(engine, settings, AgentState(settings.root), progress.end).run(options)
    except RolloutError as error:
        progress.end()
        sys.stderr.write(f"billing-rollout: {error.code}: {error.message}\n")
        sys.stderr.writelines(f"    {line}\n" for line in error.logs[-10:])
        return REJECTED if "outcome" in error.details or error.code == "quarantined" else FAILED
    except KeyboardInterrupt:
        progress.end()
        sys.stderr.write("billing-rollout: interrupted; the next run ends what this one has begun\n")
        return FAILED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _actor(options: argparse.Namespace) -> str:
    """Return who asks, for the history."""
    if getattr(options, "scheduled", False):
        return "agent"
    return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
