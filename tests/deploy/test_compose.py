"""The compose file is valid by the schema of compose, and its services fit each other and the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.manifest_reader import DEPLOY, compose, connector, options, seconds

FILE = DEPLOY / "compose.yaml"


def checked(*files: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_compose_file_is_valid_by_the_compose_schema() -> None:
    found = checked(FILE)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_compose_schema_rejects_an_unknown_field(tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(FILE.read_text("utf-8").replace("stop_grace_period", "stop_grace"), "utf-8")
    assert checked(wrong).returncode == 1


def test_services_networks_and_volumes_named_in_the_compose_file_are_defined() -> None:
    found = compose()
    services = found["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services), name
        assert set(service.get("networks", [])) <= set(found["networks"]), name
        volumes = {each.split(":")[0] for each in service.get("volumes", [])}
        assert volumes <= set(found["volumes"]), name
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in services[other], f"{name} on {other}"


def test_the_example_env_file_has_every_variable_and_no_secret() -> None:
    used = set(re.findall(r"\$\{(\w+)", FILE.read_text("utf-8")))
    given = dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / ".env.example").read_text("utf-8"), re.MULTILINE))
    assert used == set(given)
    assert not any(value for name, value in given.items() if name != "MODEL")


def test_only_gateways_publish_ports_in_the_compose_file() -> None:
    assert [name for name, service in compose()["services"].items() if "ports" in service] == ["gateway"]
    for name, service in compose()["services"].items():
        assert ("public" in service["networks"]) == (name == "gateway")


def test_the_gateway_command_in_the_compose_file_is_valid_and_names_every_replica() -> None:
    services = compose()["services"]
    gateway = services["gateway"]
    found = options(gateway["command"])
    assert str(found["backend"]) == "vllm"
    hosts = {re.fullmatch(r"http://([\w-]+):8000", url)[1] for url in found["replica"]}
    assert hosts == {name for name in services if name.startswith("replica-")}
    assert seconds(gateway["stop_grace_period"]) > found["shutdown_timeout"]


@pytest.mark.parametrize("name", ["replica-0", "replica-1"])
def test_a_replica_reads_the_prompts_that_gateways_write(name: str) -> None:
    services = compose()["services"]
    replica = services[name]
    found = connector(replica["command"])
    place = found["kv_connector_extra_config"]["artifact_location"]
    assert found["kv_connector"] == "SoftpromptConnector"
    assert f"prompts:{place}:ro" in replica["volumes"]
    assert f"prompts:{place}" in services["gateway"]["volumes"]
    assert f"prompts:{place}" in services["admin"]["volumes"]
    [drains] = [each.partition("=")[2] for each in replica["command"] if each.startswith("--shutdown-timeout=")]
    assert seconds(replica["stop_grace_period"]) > float(drains)


def test_gateway_and_replicas_have_the_same_vllm_key() -> None:
    services = compose()["services"]
    keys = {services[name]["environment"]["VLLM_API_KEY"] for name in ("gateway", "replica-0", "replica-1")}
    assert len(keys) == 1
