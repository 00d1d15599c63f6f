"""vLLM accepts the arguments of `vllm serve` in deploy/."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import yaml

from softprompt.vllm_protocol import CONNECTOR_NAME, PluginConfig

DEPLOY = Path(__file__).parents[1] / "deploy"


def of_compose() -> list[str]:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
    found: list[str] = services["replica-0"]["command"]
    return found


def of_kubernetes() -> list[str]:
    every = yaml.safe_load_all((DEPLOY / "kubernetes" / "replicas.yaml").read_text("utf-8"))
    [replica] = [each for each in every if each["kind"] == "StatefulSet"]
    [container] = replica["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["vllm"]
    found: list[str] = container["args"]
    return found


def parsed(arguments: list[str]) -> Namespace:
    """As `vllm` parses them; it exits where it does not know a word."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    assert arguments[0] == "serve"
    found: Namespace = make_arg_parser(FlexibleArgumentParser()).parse_args(arguments[1:])
    return found


@pytest.mark.parametrize("arguments", [of_compose(), of_kubernetes()], ids=["compose", "kubernetes"])
def test_vllm_accepts_the_arguments_of_the_manifests(arguments: list[str]) -> None:
    found = parsed(arguments)
    transfer: Any = found.kv_transfer_config
    assert transfer.kv_connector == CONNECTOR_NAME
    assert PluginConfig.from_extra_config(transfer.kv_connector_extra_config).artifact_location
    assert found.enable_prefix_caching
    assert found.shutdown_timeout > 0
    assert found.port == 8000
