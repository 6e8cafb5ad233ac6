# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""What happens to the servers of terraform/aws on the stand-in for AWS, phase by phase; what is planned for them."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shlex
import time
from dataclasses import dataclass, field
from typing import Any

from .conftest import TERRAFORM, Terraform

AWS = TERRAFORM / "aws"
OTHER_IMAGE = "ami-0000000000000000c"
# moto wants to know who asks, and does not look at the signature.
SIGNED = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/eu-central-1/s3/aws4_request, Signature=x",
    "Content-Type": "application/json",
}


def planned(root: Terraform, *arguments: str) -> dict[str, Any]:
    """Return a plan as JSON."""
    root.run("plan", f"-out={root.folder / 'plan'}", *arguments, f"-var=bundle_file={root.folder / 'bundle.tar.gz'}")
    plan: dict[str, Any] = json.loads(root.run("show", "-json", str(root.folder / "plan")).stdout)
    return plan


@dataclass
class Story:
    """A server's life on the stand-in: what the state said after each phase, and what was printed."""

    root: Terraform
    endpoint: str
    seconds: dict[str, float] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    all_at_once: dict[str, Any] = field(default_factory=dict)
    one_by_one: dict[str, Any] = field(default_factory=dict)
    inventory: dict[str, Any] = field(default_factory=dict)

    def arguments(
        self, generation: str = "1", image: str | None = None, second: bool = False, **more: Any
    ) -> list[str]:
        variables = {
            "bundle_file": str(self.root.folder / "bundle.tar.gz"),
            "nodes": {
                "billing-api1": {"generation": generation, "image": image},
                "billing-api2": {"zone": "b", "enabled": second},
            },
            "variables": {"api_image": "registry.example.com/billing-api:stable", **more},
            "secret_versions": {"docker_registries": 1},
            "bucket_force_destroy": True,
        }
        path = self.root.folder / "story.tfvars.json"
        path.write_text(json.dumps(variables), encoding="utf-8")
        return [f"-var-file={path}"]

    def run(self, phase: str, *arguments: str, ok: tuple[int, ...] = (0,)) -> None:
        started = time.monotonic()
        done = self.root.run(*arguments, ok=ok, timeout=600)
        self.said[phase] = done.stdout + done.stderr
        self.seconds[phase] = round(time.monotonic() - started, 1)
        state = self.root.root / "terraform.tfstate"
        self.states[phase] = state.read_text(encoding="utf-8") if state.exists() else ""

    def status(self, phase: str, write: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the bucket holds as the status of billing-api1; or write it first, as the server does."""
        (bucket,) = self.instances(phase, "aws_s3_bucket").values()
        path = f"/{bucket['id']}/status/billing-api1.json"
        with contextlib.closing(http.client.HTTPConnection(self.endpoint.removeprefix("http://"), timeout=60)) as moto:
            if write:
                moto.request("PUT", path, json.dumps(write), SIGNED)
                assert moto.getresponse().read() == b""
            moto.request("GET", path, headers=SIGNED)
            found: dict[str, Any] = json.load(moto.getresponse())
        return found

    def instances(self, phase: str, kind: str) -> dict[str, dict[str, Any]]:
        """Return the attributes of every instance of a resource type by its key."""
        return {
            str(instance.get("index_key", "")): instance["attributes"]
            for resource in json.loads(self.states[phase])["resources"]
            if resource["mode"] == "managed" and resource["type"] == kind
            for instance in resource["instances"]
        }


def targets(node: str) -> list[str]:
    """Return what README.md says replaces one server."""
    (command,) = re.findall(
        r"^terraform apply ((?:.*\\\n)*.*-target=.*)$", (AWS / "README.md").read_text(), re.MULTILINE
    )
    words = shlex.split(command.replace("\\\n", " "))
    assert all(word.startswith("-target=") for word in words), words
    return [word.replace("billing-api1", node) for word in words]


def replaced(plan: dict[str, Any]) -> set[str]:
    """Return the addresses of what a plan replaces, destroys or makes."""
    return {
        change["address"]
        for change in plan["resource_changes"]
        if {"create", "delete"} & set(change["change"]["actions"]) and change["mode"] == "managed"
    }
