# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors

"""terraform/aws with the real provider: applied, replaced, destroyed on a stand-in for AWS; policies; checkov."""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.server import machine_facts, write
from tests.ci.setup import ENVIRONMENTS

from .aws_story import AWS, OTHER_IMAGE, Story, planned, replaced, targets
from .conftest import REPOSITORY, TERRAFORM, Terraform, inventory

EXAMPLES = sorted((AWS / "examples").glob("*.tfvars"))
CANARY = "swordfish-4711"
SECRETS = json.dumps({"docker_registries": CANARY})
# The one thing that Terraform itself has no switch for; and moto has no bucket.127.0.0.1.
OVERRIDE = """
provider "aws" {
  s3_use_path_style = true
}

resource "aws_ebs_volume" "data" {
  lifecycle {
    prevent_destroy = false
  }
}
"""


@pytest.fixture(scope="session")
def aws_python() -> Path:
    python = ENVIRONMENTS["aws"][0] / "bin" / "python"
    if not python.exists():
        pytest.skip("moto and checkov are not there: `python3 -m tests.ci.setup aws` installs them")
    return python


@pytest.fixture(scope="module")
def endpoint(aws_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start AWS on this machine. It is there before anything is planned: the provider would try for minutes."""
    folder = tmp_path_factory.mktemp("moto")
    program = str(Path(__file__).with_name("aws_server.py"))
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen([aws_python, program, str(folder)], stdout=log, stderr=log) as server,
    ):
        try:
            deadline = time.monotonic() + 60
            while not (folder / "port").exists():
                assert server.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, "moto did not listen within a minute"
                time.sleep(0.1)
            yield f"http://127.0.0.1:{(folder / 'port').read_text()}"
        finally:
            server.kill()


@pytest.fixture(scope="module")
def root(
    terraform_binary: str, aws_provider: str, endpoint: str, tmp_path_factory: pytest.TempPathFactory
) -> Terraform:
    """Return a copy of the root whose volume may be destroyed."""
    folder = tmp_path_factory.mktemp("aws")
    shutil.copytree(TERRAFORM, folder / "terraform", ignore=shutil.ignore_patterns(".terraform", "*.tfstate*"))
    (folder / "terraform" / "aws" / "test_override.tf").write_text(OVERRIDE, encoding="utf-8")
    (folder / "bundle.tar.gz").write_bytes(b"any bundle")
    environment = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "TF_VAR_secrets": SECRETS,
    }
    terraform = Terraform(
        terraform_binary, folder / "terraform" / "aws", folder, installation=aws_provider, environment=environment
    )
    terraform.run("init", "-lockfile=readonly")
    return terraform


@pytest.fixture(scope="module")
def story(root: Terraform, endpoint: str) -> Story:
    """Live through apply, nothing to do, a new image, replacement, a second server, refusal to destroy, destruction."""
    story = Story(root, endpoint)
    story.plan = planned(root, *story.arguments())
    story.run("apply", "apply", "-auto-approve", *story.arguments())
    story.run("second plan", "plan", *story.arguments())
    story.told["apply"] = story.status("apply")
    story.told["server"] = story.status("apply", {"state": "ready", "checked": "now"})
    story.run("plan after the server's word", "plan", *story.arguments())
    story.run("plan with a newer image", "plan", *story.arguments(image=OTHER_IMAGE))
    story.run("replace", "apply", "-auto-approve", *story.arguments("2", OTHER_IMAGE))
    story.told["replace"] = story.status("replace")
    story.run("plan after that", "plan", *story.arguments("2", OTHER_IMAGE))
    shutil.copy(root.root / "terraform.tfstate", root.folder / "terraform.tfstate")
    listed = inventory(root.folder, "--list").stdout
    story.inventory = json.loads(listed, object_hook=lambda item: item.get("__ansible_unsafe", item))
    two = ("2", OTHER_IMAGE, True)
    story.run("second server", "apply", "-auto-approve", *story.arguments(*two))
    changed = story.arguments(*two, api_replicas=2)
    story.all_at_once, story.one_by_one = planned(root, *changed), planned(root, *targets("billing-api1"), *changed)
    override = root.root / "test_override.tf"
    override.rename(root.folder / "test_override.tf")
    story.run("destroy as it is", "plan", "-destroy", "-refresh=false", *story.arguments(*two), ok=(0, 1))
    alone = '-var=nodes={"billing-api1":{}}'
    story.run("node left out", "plan", "-refresh=false", *story.arguments(*two), alone, ok=(0, 1))
    (root.folder / "test_override.tf").rename(override)
    story.run("destroy", "destroy", "-auto-approve", *story.arguments(*two))
    version = json.loads(root.run("version", "-json").stdout)
    write(
        "terraform-aws",
        {
            "units": {"seconds": "s"},
            "machine": machine_facts(),
            "terraform": version["terraform_version"],
            "provider": version["provider_selections"]["registry.terraform.io/hashicorp/aws"],
            "on": "moto, a stand-in for AWS: how long AWS itself takes, this does not say",
            "seconds": {name: story.seconds[name] for name in ("apply", "second plan", "replace", "destroy")},
        },
    )
    return story


def test_second_plan_is_empty(story: Story) -> None:
    assert "No changes." in story.said["second plan"]
    assert "No changes." in story.said["plan after that"]


def test_status_is_the_servers_word_until_it_is_replaced(story: Story) -> None:
    assert story.told["apply"]["state"] == "waiting"
    assert story.told["server"]["state"] == "ready"
    assert "No changes." in story.said["plan after the server's word"]
    assert story.told["replace"]["state"] == "waiting"
    assert "has said nothing yet" in story.told["replace"]["reason"]


def test_servers_are_replaced_one_by_one_as_the_readme_says(story: Story) -> None:
    def of(node: str) -> set[str]:
        kinds = ("aws_instance.node", "aws_volume_attachment.data", "aws_eip_association.node", "aws_s3_object.status")
        return {f'{kind}["{node}"]' for kind in kinds}

    assert replaced(story.all_at_once) == of("billing-api1") | of("billing-api2")
    assert replaced(story.one_by_one) == of("billing-api1")


def test_newer_image_alone_replaces_nothing(story: Story) -> None:
    assert "No changes." in story.said["plan with a newer image"]


def test_new_generation_replaces_the_server_with_the_newest_image(story: Story) -> None:
    before, after = (story.instances(phase, "aws_instance") for phase in ("apply", "replace"))
    assert list(before) == list(after) == ["billing-api1"]
    assert before["billing-api1"]["id"] != after["billing-api1"]["id"]
    assert after["billing-api1"]["ami"] == OTHER_IMAGE


def test_volume_addresses_and_bucket_outlive_the_server(story: Story) -> None:
    for kind in ("aws_ebs_volume", "aws_eip", "aws_s3_bucket", "aws_iam_role", "aws_security_group"):
        before, after = (
            {key: values["id"] for key, values in story.instances(phase, kind).items()}
            for phase in ("apply", "replace")
        )
        assert before == after
        assert before
    addresses = [
        story.instances(phase, "aws_instance")["billing-api1"]["ipv6_addresses"] for phase in ("apply", "replace")
    ]
    assert addresses[0] == addresses[1]
    assert len(addresses[0]) == 1


def test_volume_and_address_belong_to_the_new_server(story: Story) -> None:
    server = story.instances("replace", "aws_instance")["billing-api1"]["id"]
    assert story.instances("replace", "aws_volume_attachment")["billing-api1"]["instance_id"] == server
    assert story.instances("replace", "aws_eip_association")["billing-api1"]["instance_id"] == server


def test_node_that_is_switched_off_has_a_volume_and_no_server(story: Story) -> None:
    assert set(story.instances("apply", "aws_ebs_volume")) == {"billing-api1", "billing-api2"}
    assert set(story.instances("apply", "aws_instance")) == {"billing-api1"}


def test_inventory_names_the_new_server(story: Story) -> None:
    host = story.inventory["_meta"]["hostvars"]["billing-api1"]
    assert story.inventory["billing"]["hosts"] == ["billing-api1"]
    assert host["terraform_host"]["resource_id"] == story.instances("replace", "aws_instance")["billing-api1"]["id"]
    assert host["terraform_host"]["placement"]["image"] == OTHER_IMAGE


def test_volume_is_not_destroyed_by_mistake(story: Story) -> None:
    for phase in ("destroy as it is", "node left out"):
        assert "Instance cannot be destroyed" in story.said[phase]


def test_nothing_is_left_after_destroy(story: Story) -> None:
    assert json.loads(story.states["destroy"])["resources"] == []


# -- policies


def resources(plan: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Return the planned values of a resource type."""
    return [item["values"] for item in plan["planned_values"]["root_module"]["resources"] if item["type"] == kind]


def broken_policies(plan: dict[str, Any]) -> list[str]:
    """Name what a plan does that it never may."""
    broken = []
    for rule in resources(plan, "aws_vpc_security_group_ingress_rule"):
        everybody = "0.0.0.0/0" in (rule["cidr_ipv4"] or "") or (rule["cidr_ipv6"] or "") == "::/0"
        if everybody and (rule["ip_protocol"] != "tcp" or {rule["from_port"], rule["to_port"]} not in ({80}, {443})):
            broken.append(f"open to the world: {rule['from_port']} to {rule['to_port']}")
    for server in resources(plan, "aws_instance"):
        metadata = server["metadata_options"][0]
        if (metadata["http_tokens"], metadata["http_put_response_hop_limit"]) != ("required", 1):
            broken.append("metadata without a token, or beyond one hop")
        if not server["root_block_device"][0]["encrypted"]:
            broken.append("root disk in the clear")
    broken += ["volume in the clear" for volume in resources(plan, "aws_ebs_volume") if not volume["encrypted"]]
    for block in resources(plan, "aws_s3_bucket_public_access_block"):
        broken += [name for name in block if name.startswith(("block_", "ignore_", "restrict_")) and not block[name]]
    if CANARY in json.dumps(plan):
        broken.append("a secret in the plan")
    return broken


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda path: path.stem)
def example(request: pytest.FixtureRequest, root: Terraform) -> dict[str, Any]:
    return planned(root, f"-var-file={request.param}")


def test_examples_keep_the_policies(example: dict[str, Any]) -> None:
    assert resources(example, "aws_instance")
    assert resources(example, "aws_ebs_volume")
    assert len(resources(example, "aws_vpc_security_group_ingress_rule")) >= 4
    assert len(resources(example, "aws_s3_bucket_public_access_block")) == 1
    assert broken_policies(example) == []


def test_policies_would_notice(example: dict[str, Any]) -> None:
    changes: dict[str, dict[str, Any]] = {
        "aws_vpc_security_group_ingress_rule": {"from_port": 22, "to_port": 22, "cidr_ipv4": "0.0.0.0/0"},
        "aws_instance": {"metadata_options": [{"http_tokens": "optional", "http_put_response_hop_limit": 1}]},
        "aws_ebs_volume": {"encrypted": False, "tags": {"Name": CANARY}},
        "aws_s3_bucket_public_access_block": {"block_public_acls": False},
    }
    spoilt = json.loads(json.dumps(example))
    for kind, values in changes.items():
        resources(spoilt, kind)[0].update(values)
    assert sorted(broken_policies(spoilt)) == [
        "a secret in the plan",
        "block_public_acls",
        "metadata without a token, or beyond one hop",
        "open to the world: 22 to 22",
        "volume in the clear",
    ]


def test_no_secret_in_plan_state_user_data_or_output(story: Story) -> None:
    """The server's user data is there in full, so that this would see one."""
    assert broken_policies(story.plan) == []
    for texts in (story.states, story.said):
        assert [phase for phase, text in texts.items() if CANARY in text] == []
    (server,) = story.instances("apply", "aws_instance").values()
    user_data = gzip.decompress(base64.b64decode(server["user_data_base64"])).decode()
    assert "registry.example.com/billing-api:stable" in user_data
    assert CANARY not in user_data
    (parameter,) = story.instances("apply", "aws_ssm_parameter").values()
    assert parameter["has_value_wo"]
    assert parameter["type"] == "SecureString"


def test_role_of_a_server_may_do_little(story: Story) -> None:
    (policy, _other) = (json.loads(role["policy"]) for role in story.instances("apply", "aws_iam_role_policy").values())
    (bucket,) = story.instances("apply", "aws_s3_bucket").values()
    bundle = story.instances("apply", "aws_s3_object")[""]
    allowed = {
        (action, statement["Resource"])
        for statement in policy["Statement"]
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    assert allowed == {
        ("s3:GetObject", f"{bucket['arn']}/{bundle['key']}"),
        ("s3:PutObject", f"{bucket['arn']}/status/billing-api1.json"),
        ("s3:PutObject", f"{bucket['arn']}/backups/billing-api1/*"),
        ("s3:AbortMultipartUpload", f"{bucket['arn']}/backups/billing-api1/*"),
        ("ssm:GetParametersByPath", "arn:aws:ssm:eu-central-1:123456789012:parameter/billing/production"),
        ("ssm:UpdateInstanceInformation", "*"),
        ("ssmmessages:CreateControlChannel", "*"),
        ("ssmmessages:CreateDataChannel", "*"),
        ("ssmmessages:OpenControlChannel", "*"),
        ("ssmmessages:OpenDataChannel", "*"),
    }
    assert story.instances("apply", "aws_iam_role_policy_attachment") == {}


def test_checkov_finds_nothing_and_every_skip_has_a_reason(aws_python: Path) -> None:
    arguments = ["-d", str(AWS), "--framework", "terraform", "--skip-download", "--compact", "--output", "json"]
    done = subprocess.run(
        [aws_python.with_name("checkov"), *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    report = json.loads(done.stdout)
    found = [f"{check['check_id']} {check['resource']}" for check in report["results"]["failed_checks"]]
    assert found == []
    assert report["summary"]["passed"] > 50
    skipped = report["results"]["skipped_checks"]
    assert all(len(check["check_result"]["suppress_comment"]) > 30 for check in skipped)
