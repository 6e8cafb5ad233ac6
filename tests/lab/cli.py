# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""The command line of the lab: ``python3 -m tests.lab --name NAME COMMAND``."""

from __future__ import annotations

import argparse
import base64
import os
import sys
import time
from collections.abc import Sequence

from tests.lab.lab import IMAGES, Lab
from tests.lab.shell import LabError, say

USER_DATA = "LAB_USER_DATA"


def parse_pair(text: str) -> tuple[str, str]:
    """``KEY=VALUE``, the value may be empty."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def parse_host(text: str) -> tuple[str, str | None]:
    """``NAME`` or ``NAME=ADDRESS``."""
    name, _equals, address = text.partition("=")
    return name, address or None


def user_data() -> bytes:
    """The user data that Terraform hands over in the environment."""
    try:
        data = base64.b64decode(os.environ.get(USER_DATA, ""), validate=True)
    except ValueError as error:
        raise LabError(f"{USER_DATA} is not base64: {error}") from error
    if not data:
        raise LabError(f"--cloud-init needs user data: set {USER_DATA} to it, in base64")
    return data


def parser() -> argparse.ArgumentParser:
    """Every command and option."""
    top = argparse.ArgumentParser(prog="python3 -m tests.lab", description="A lab of real hosts on this machine.")
    top.add_argument("--name", default="dev", help="which lab; several live side by side (default: %(default)s)")
    commands = top.add_subparsers(dest="command", required=True)

    up = commands.add_parser("up", help="have engine, images, network and registry; plan hosts for Terraform")
    up.add_argument(
        "--host",
        type=parse_host,
        action="append",
        metavar="NAME[=ADDRESS]",
        help="plan this host (default: billing-api1)",
    )
    commands.add_parser("down", help="remove the lab: containers, volumes, network, files")
    commands.add_parser("status", help="print what the lab consists of")

    ssh = commands.add_parser("ssh", help="log in to a host as root, or run a command there")
    ssh.add_argument("host")
    ssh.add_argument("remote", nargs=argparse.REMAINDER, metavar="COMMAND")

    hosts = commands.add_parser("host", help="add, remove, reboot or kill hosts")
    host = hosts.add_subparsers(dest="action", required=True)
    add = host.add_parser("add", help="add a host and wait until it answers on SSH")
    add.add_argument("host")
    add.add_argument("--address")
    add.add_argument(
        "--cloud-init", action="store_true", help=f"configured by the user data in {USER_DATA} (base64), without SSH"
    )
    remove = host.add_parser("remove", help="destroy a host, keep its data")
    remove.add_argument("host")
    remove.add_argument("--purge", action="store_true", help="destroy its data and forget its address and key too")
    host.add_parser("list", help="print the hosts")
    for action, text in (("reboot", "restart in order"), ("kill", "pull the plug"), ("start", "switch on again")):
        host.add_parser(action, help=text).add_argument("host")

    push = commands.add_parser("push", help="publish a variant of an image, for tests: other environment, same layers")
    push.add_argument("image", metavar="NAME:TAG")
    push.add_argument("--env", type=parse_pair, action="append", default=[], metavar="KEY=VALUE")
    push.add_argument("--source", help="tag to make it from (default: the one that `up` pushed)")
    push.add_argument("--local", metavar="IMAGE", help="push this image of the local engine instead")

    registry = commands.add_parser("registry", help="stop or start the registry")
    registry.add_argument("action", choices=["start", "stop"])
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; an error is one message and exit code 1."""
    options = parser().parse_args(arguments)
    started = time.monotonic()
    try:
        _run(Lab(options.name), options)
    except LabError as error:
        say(f"lab {options.name}: {error}")
        return 1
    if options.command in {"up", "down"}:
        say(f"{time.monotonic() - started:7.1f} s  lab {options.name} is {options.command}")
    return 0


def _run(lab: Lab, options: argparse.Namespace) -> None:
    match options.command:
        case "up":
            lab.up(dict(options.host) if options.host else None)
        case "down":
            lab.down()
        case "status":
            print(lab.status())
        case "ssh":
            command = [*lab.host(options.host).ssh_command(), *options.remote]
            if not options.remote and sys.stdin.isatty():
                command.insert(1, "-t")
            os.execvp(command[0], command)  # noqa: S606 (the terminal becomes that of ssh)
        case "host":
            _run_host(lab, options)
        case "push":
            _push(lab, options)
        case "registry":
            lab.registry.stop() if options.action == "stop" else lab.registry.start()


def _run_host(lab: Lab, options: argparse.Namespace) -> None:
    match options.action:
        case "add":
            lab.add_host(options.host, options.address, user_data() if options.cloud_init else b"")
        case "remove":
            lab.remove_host(options.host, options.purge)
        case "list":
            for host in lab.hosts():
                print(f"{host.name}\t{host.address}\t{host.state}")
        case "reboot":
            lab.host(options.host).reboot()
        case "kill":
            lab.host(options.host).kill()
        case "start":
            lab.host(options.host).start()


def _push(lab: Lab, options: argparse.Namespace) -> None:
    if options.local:
        print(lab.registry.push(options.local, options.image))
        return
    repository = options.image.rpartition(":")[0]
    known = {name.rpartition(":")[0]: name.rpartition(":")[2] for name in IMAGES.values()}
    source = options.source or known.get(repository)
    if source is None:
        raise LabError(f"{repository!r} has no image to start from: give --source TAG or --local IMAGE")
    print(lab.registry.push_variant(options.image, dict(options.env), source))
