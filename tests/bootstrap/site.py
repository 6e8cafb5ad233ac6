# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
"""A lab whose server configures itself: Terraform renders its user data and starts it, and nobody logs in."""

from __future__ import annotations

import http.client
import http.server
import itertools
import json
import socket
import ssl
import subprocess
import threading
import time
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.demo import Demo
from tests.integration.client import Client
from tests.lab import Lab, LabError, keys, network
from tests.lab.hosts import SECRETS, Host
from tests.lab.lab import IMAGES
from tests.lab.registry import HOSTNAME, PORT, USER
from tests.lab.shell import run

SERVER = "billing-api1"
SERVE_SECONDS = 600.0


class Files:
    """Serves a folder over HTTPS to the lab's hosts, with a certificate of the lab's authority."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        address = network.address(lab.subnet, network.GATEWAY)
        authority = keys.ensure_authority(lab.dir, lab.name)
        certificate, key = keys.ensure_certificate(lab.dir / "files", authority, "files", {address: "IP"})
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate, key)
        handler = partial(_Quiet, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer((address, 0), handler)
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"https://{address}:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Keep the test's output clean."""


class Site:
    """The lab, its file server, and the one server in it."""

    def __init__(self, name: str) -> None:
        self.lab = Lab(name)
        self.demo = Demo(name)
        self.variables = self.lab.dir / "bootstrap.tfvars.json"
        self.generation = 1

    def up(self) -> None:
        """Start the lab and publish the bundle; there is no server yet."""
        self.down()
        self.lab.up({SERVER: None})
        bundle = self._build(self.lab.dir / "www")
        self.files = Files(self.lab, self.lab.dir / "www")
        self._write_secrets()
        variables = {
            "docker_channel": "distribution",
            "firewall_ssh_cidrs": [],
            **{f"{image}_image": f"{HOSTNAME}:{PORT}/{name}" for image, name in IMAGES.items()},
        }
        bootstrap = {
            "bundle": {"url": f"{self.files.url}/{bundle.name}", "sha256": sha256(bundle.read_bytes()).hexdigest()},
            "secrets": {"source": "file", "path": SECRETS, "required": ["docker_registries"]},
            "variables": variables,
            "ca_certificates": [(self.lab.dir / "ca.crt").read_text()],
        }
        keys.write_private(self.variables, json.dumps({"bootstrap": bootstrap}, indent=2) + "\n")
        self.demo.terraform_init()

    def _build(self, folder: Path) -> Path:
        given = json.dumps({"bundle_folder": str(folder)})
        argv = ["ansible-playbook", "billing.infrastructure.bundle", "-e", given]
        self.demo.run("build the bundle", argv)
        (archive,) = folder.glob("bundle-*.tar.gz")
        return archive

    def _write_secrets(self) -> None:
        registry = {
            "registry": f"{HOSTNAME}:{PORT}",
            "ca": (self.lab.dir / "ca.crt").read_text(),
            "username": USER,
            "password": self.lab.registry.password,
        }
        keys.write_private(self.lab.dir / "secrets" / f"{SERVER}.json", json.dumps({"docker_registries": [registry]}))

    def apply(self, command: str = "apply") -> float:
        """Apply, with the current generation; return the seconds."""
        started = time.monotonic()
        files = [f"-var-file={path}" for path in (self.demo.variables, self.variables)]
        arguments = ["-auto-approve", f"-var=generation={self.generation}", *files]
        self.demo.terraform(f"terraform {command}, generation {self.generation}", command, *arguments)
        return time.monotonic() - started

    def down(self) -> None:
        """Remove everything."""
        if hasattr(self, "files"):
            self.files.close()
        self.lab.down()

    # -- the server

    @property
    def host(self) -> Host:
        """The server."""
        return self.lab.host(SERVER)

    @property
    def client(self) -> Client:
        """A client of the service."""
        return Client(self.host.address, timeout=5)

    def look(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command inside the server, from outside: what a provider's console is for."""
        return run(["docker", "exec", self.host.container, *command], check=check)

    def status(self) -> dict[str, Any]:
        """Return what the server says of itself; {} as long as it says nothing."""
        shown = self.look("cat", "/run/billing-bootstrap/status.json", check=False).stdout
        found: dict[str, Any] = json.loads(shown) if shown else {}
        return found

    def wait_serving(self) -> float:
        """Wait until the service and its database answer; return the seconds."""
        started = time.monotonic()
        while not self.serves():
            if time.monotonic() - started > SERVE_SECONDS:
                journal = self.look(
                    "journalctl", "-u", "billing-bootstrap", "-n", "60", "--no-pager", check=False
                ).stdout
                raise LabError(f"{SERVER} does not serve after {SERVE_SECONDS:.0f} s: {self.status()}\n{journal}")
            time.sleep(0.2)
        return time.monotonic() - started

    def wait_state(self, state: str) -> dict[str, Any]:
        """Wait until the server says that it is in this state, and return all that it says."""
        deadline = time.monotonic() + SERVE_SECONDS
        while (found := self.status()).get("state") != state:
            if time.monotonic() > deadline:
                raise LabError(f"{SERVER} is not {state} after {SERVE_SECONDS:.0f} s: {found}")
            time.sleep(0.5)
        return found

    def serves(self) -> bool:
        """Tell whether the service and its database answer right now."""
        try:
            return self.client.get("/health/db").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def open_ports(self, *ports: int) -> list[int]:
        """Return the ports of these that take a connection."""
        found = []
        for port in ports:
            try:
                socket.create_connection((self.host.address, port), timeout=2).close()
            except OSError:
                continue
            found.append(port)
        return found


class Writer:
    """Writes invoices without a pause while its block runs, and keeps every one that was acknowledged."""

    def __init__(self, client: Client) -> None:
        self.acknowledged: list[tuple[float, dict[str, Any]]] = []
        self.refused = 0
        self._client = client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def _loop(self) -> None:
        while not self._stop.is_set():
            try:
                invoice = self._client.write_invoice()
            except (OSError, http.client.HTTPException, AssertionError):
                self.refused += 1
                self._stop.wait(0.2)
            else:
                self.acknowledged.append((time.monotonic(), invoice))
                self._stop.wait(0.05)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join(timeout=60)

    @property
    def outage(self) -> float:
        """The longest time without an acknowledged invoice, in seconds."""
        times = [moment for moment, _invoice in self.acknowledged]
        return max((after - before for before, after in itertools.pairwise(times)), default=0.0)
