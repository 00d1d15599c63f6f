"""The Kubernetes manifests are valid by the schemas of Kubernetes, and fit each other and the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.manifest_reader import MANIFESTS, connector, objects, one, options

WORKLOADS = [("Deployment", "gateway"), ("StatefulSet", "replica"), ("StatefulSet", "postgres")]


def checked(*files: object) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("kubernetes-validate")), "--strict", *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def pod(each: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = each["spec"]["template"]["spec"]
    return found


def container(kind: str, name: str) -> dict[str, Any]:
    [found] = pod(one(kind, name))["containers"]
    return found


def settings() -> dict[str, str]:
    found: dict[str, str] = one("ConfigMap", "softprompt-config")["data"]
    return found


def arguments(kind: str, name: str) -> list[str]:
    """Its arguments as Kubernetes hands them over."""
    return [re.sub(r"\$\((\w+)\)", lambda match: settings()[match[1]], each) for each in container(kind, name)["args"]]


def test_the_manifests_are_valid_by_the_kubernetes_schemas() -> None:
    found = checked(*MANIFESTS)
    assert found.returncode == 0, found.stdout + found.stderr
    assert not re.search(r"WARN|no schema", found.stdout + found.stderr)


def test_the_kubernetes_schemas_reject_invalid_manifests(tmp_path: Path) -> None:
    for path, right, wrong in (
        ("gateways.yaml", "minAvailable", "minAvailible"),
        ("replicas.yaml", "periodSeconds: 5", "periodSeconds: often"),
    ):
        [found] = [each for each in MANIFESTS if each.name == path]
        (tmp_path / path).write_text(found.read_text("utf-8").replace(right, wrong), "utf-8")
        assert checked(tmp_path / path).returncode != 0


def test_every_selector_matches_a_pod() -> None:
    labels = [
        each["spec"]["template"]["metadata"]["labels"]
        for kind in ("Deployment", "StatefulSet")
        for each in objects(kind)
    ]
    selectors = [each["spec"]["selector"] for each in objects("Service")]
    for kind in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
        selectors += [each["spec"]["selector"]["matchLabels"] for each in objects(kind)]
    selectors += [each["spec"]["podSelector"]["matchLabels"] for each in objects("NetworkPolicy")]
    for selector in selectors:
        assert any(selector.items() <= each.items() for each in labels), selector


def test_every_secret_is_documented_and_every_setting_is_in_the_config_map() -> None:
    page = (MANIFESTS[0].parents[2] / "docs" / "deploy.md").read_text("utf-8")
    assert not list(objects("Secret"))  # they are no files of this repository
    for kind in ("Deployment", "StatefulSet"):
        for each in objects(kind):
            for inside in pod(each)["containers"]:
                for variable in inside.get("env", []):
                    if source := variable.get("valueFrom"):
                        assert source["secretKeyRef"]["name"] == "softprompt"
                        assert f"--from-literal={source['secretKeyRef']['key']}=" in page
                    else:
                        assert "PASSWORD" not in variable["name"]
                for source in inside.get("envFrom", []):
                    assert source["configMapRef"]["name"] == "softprompt-config"


@pytest.mark.parametrize(("kind", "name"), WORKLOADS)
def test_a_workload_has_probes_memory_limits_and_an_image_tag(kind: str, name: str) -> None:
    inside = container(kind, name)
    assert {"readinessProbe", "livenessProbe", "resources"} <= set(inside)
    assert "memory" in inside["resources"]["limits"]
    assert not inside["image"].endswith(":latest")
    assert ":" in inside["image"]
    ports = {port["name"] for port in inside["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if "httpGet" in inside.get(probe, {}):
            assert inside[probe]["httpGet"]["port"] in ports
    mounts = {mount["name"] for mount in inside.get("volumeMounts", [])}
    volumes = {volume["name"] for volume in pod(one(kind, name)).get("volumes", [])}
    claims = {claim["metadata"]["name"] for claim in one(kind, name)["spec"].get("volumeClaimTemplates", [])}
    assert mounts == volumes | claims


def test_the_gateway_probes_request_the_health_endpoints_of_the_server() -> None:
    inside = container("Deployment", "gateway")
    assert inside["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert inside["livenessProbe"]["httpGet"]["path"] == "/health"


def test_the_gateway_command_in_the_manifests_is_valid_and_matches_the_settings() -> None:
    found = options(arguments("Deployment", "gateway"))
    assert str(found["backend"]) == "vllm"
    assert found["model"] == settings()["MODEL"]
    assert str(found["location"]) == settings()["SOFTPROMPT_STORE"]
    waits = container("Deployment", "gateway")["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod(one("Deployment", "gateway"))["terminationGracePeriodSeconds"] > waits + found["shutdown_timeout"]


def test_gateways_name_every_replica() -> None:
    replicas = one("StatefulSet", "replica")
    service = one("Service", replicas["spec"]["serviceName"])
    [port] = service["spec"]["ports"]
    assert service["spec"]["clusterIP"] == "None"
    assert options(arguments("Deployment", "gateway"))["replica"] == [
        f"http://replica-{i}.{service['metadata']['name']}:{port['port']}" for i in range(replicas["spec"]["replicas"])
    ]


def test_a_replica_reads_prompts_from_the_artifact_location_of_the_settings() -> None:
    told = arguments("StatefulSet", "replica")
    found = connector(told)
    assert found["kv_connector"] == "SoftpromptConnector"
    assert found["kv_role"] == "kv_both"
    assert found["kv_connector_extra_config"] == {"artifact_location": settings()["ARTIFACT_LOCATION"]}
    [drains] = [float(each.partition("=")[2]) for each in told if each.startswith("--shutdown-timeout=")]
    assert pod(one("StatefulSet", "replica"))["terminationGracePeriodSeconds"] > drains


def test_a_disruption_leaves_at_least_one_gateway_and_one_replica() -> None:
    for kind, name, budget in (("Deployment", "gateway", "gateways"), ("StatefulSet", "replica", "replicas")):
        spec = one("PodDisruptionBudget", budget)["spec"]
        assert one(kind, name)["spec"]["replicas"] - spec.get("maxUnavailable", 0) >= max(
            1, spec.get("minAvailable", 1)
        )


def test_only_gateways_can_connect_to_replicas() -> None:
    [ingress] = one("NetworkPolicy", "replicas")["spec"]["ingress"]
    assert [each["podSelector"]["matchLabels"] for each in ingress["from"]] == [{"app.kubernetes.io/name": "gateway"}]
