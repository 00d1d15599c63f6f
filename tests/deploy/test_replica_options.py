"""Every command that starts a replica, in compose, Kubernetes, docs and the gateway, has the options the code needs."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from softprompt.errors import SettingError
from softprompt.server.backends.vllm.local_vllm_server import build_arguments
from softprompt.server.backends.vllm.replica_options import REQUIRED_OPTIONS
from softprompt.vllm.compatibility import check_engine_facts
from softprompt.vllm.vllm_config import read_engine_facts
from softprompt.vllm_protocol import CONNECTOR_NAME, PluginConfig
from tests.deploy.manifest_reader import compose, objects, page_commands, vllm_options

PARALLEL = ("pipeline_parallel_size", "decode_context_parallel_size", "prefill_context_parallel_size")


def commands() -> dict[str, list[str]]:
    """All lines that start a replica."""
    services = compose()["services"]
    found = {f"compose {name}": each["command"] for name, each in services.items() if name.startswith("replica")}
    for each in objects():
        for inside in each.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
            if inside.get("command") == ["vllm"]:
                found[f"kubernetes {each['metadata']['name']}"] = inside["args"]
    for page in ("gateway.md", "vllm.md"):
        found |= {f"{page} {i}": words for i, words in enumerate(page_commands(page))}
    found["own"] = build_arguments(
        "MODEL", "STORE/prompts", max_model_len=65, max_num_seqs=4, max_num_batched_tokens=256, dtype="auto", port=1
    )
    return found


COMMANDS = commands()


def config_of(options: dict[str, str]) -> Any:
    """VLLM's configuration, as far as options change what the plugin looks at; the model is one that it serves."""
    transfer = json.loads(options["kv-transfer-config"])
    return SimpleNamespace(
        cache_config=SimpleNamespace(cache_dtype=options.get("kv-cache-dtype", "auto"), block_size=16),
        model_config=SimpleNamespace(
            **dict.fromkeys(("use_mla", "is_hybrid", "is_attention_free", "is_encoder_decoder", "uses_mrope"), False),
            runner_type="generate",
            disable_sliding_window=False,
            get_sliding_window=lambda: None,
        ),
        parallel_config=SimpleNamespace(**{name: int(options.get(name.replace("_", "-"), 1)) for name in PARALLEL}),
        speculative_config=options.get("speculative-config"),
        kv_transfer_config=SimpleNamespace(
            kv_role=transfer["kv_role"],
            kv_load_failure_policy=transfer.get("kv_load_failure_policy", "fail"),
            kv_connector_extra_config=transfer["kv_connector_extra_config"],
        ),
    )


def check_starts(options: dict[str, str]) -> None:
    """The plugin lets a replica start with these options."""
    unit = options.get("prefix-match-unit")
    spec = type("FullAttentionSpec", (), {"block_size": 16})()
    cache = SimpleNamespace(
        kv_cache_groups=[SimpleNamespace(kv_cache_spec=spec)], hash_block_size=16 if unit is None else int(unit)
    )
    check_engine_facts(read_engine_facts(config_of(options), cache))


def test_all_commands_that_start_a_replica_are_found() -> None:
    assert len([name for name in COMMANDS if name.startswith("compose")]) == 2
    assert {name.split()[0] for name in COMMANDS} == {"compose", "kubernetes", "gateway.md", "vllm.md", "own"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_replica_command_has_the_options_that_a_gateway_requires(name: str) -> None:
    options = vllm_options(COMMANDS[name])
    for option, value in REQUIRED_OPTIONS.items():
        assert option in options, f"--{option} is missing"
        read = json.loads if value.startswith("{") else str
        assert read(options[option]) == read(value)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_plugin_accepts_the_options_of_a_replica_command(name: str) -> None:
    options = vllm_options(COMMANDS[name])
    transfer = json.loads(options["kv-transfer-config"])
    assert transfer["kv_connector"] == CONNECTOR_NAME
    assert PluginConfig.from_extra_config(transfer["kv_connector_extra_config"]).artifact_location
    check_starts(options)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("speculative-config", "{}"),
        ("pipeline-parallel-size", "2"),
        ("kv-cache-dtype", "fp8"),
        ("prefix-match-unit", "8"),
        ("kv-transfer-config", '{"kv_role": "kv_producer", "kv_connector_extra_config": {}}'),
    ],
)
def test_the_plugin_rejects_unsupported_vllm_options(option: str, value: str) -> None:
    with pytest.raises(SettingError):
        check_starts({**vllm_options(COMMANDS["own"]), option: value})


def test_every_container_that_loads_the_model_has_the_hub_token() -> None:
    services = compose()["services"]
    for name in ("gateway", "admin", "replica-0", "replica-1"):
        assert "HF_TOKEN" in services[name]["environment"], name
    loading = {}
    for each in (*objects("Deployment"), *objects("StatefulSet")):
        for inside in each["spec"]["template"]["spec"]["containers"]:
            if {"configMapRef": {"name": "softprompt-config"}} in inside.get("envFrom", []):
                loading[each["metadata"]["name"]] = {variable["name"] for variable in inside["env"]}
    assert set(loading) == {"gateway", "admin", "replica"}
    for name, variables in loading.items():
        assert "HF_TOKEN" in variables, name
