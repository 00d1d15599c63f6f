"""The gateway and the plugin exchange prompts and settings exactly, or reject them: a misspelt one is never ignored."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from softprompt.errors import SettingError
from softprompt.vllm_protocol import (
    MIB,
    PLACEHOLDER_TOKEN_ID,
    UNKNOWN_PROMPT_DIGEST,
    PluginConfig,
    PromptTransferParams,
    build_kv_transfer_config,
    format_plugin_error,
    is_plugin_error,
    parse_kv_transfer_params,
    prepend_placeholders,
    starts_with_placeholders,
)

DIGEST = "0123456789abcdef" * 4
FINGERPRINT = "sha256:0123456789abcdef"


def test_params_are_parsed_as_they_were_sent() -> None:
    params = PromptTransferParams(DIGEST, 17)
    assert params.to_kv_transfer_params() == {"softprompt": {"prompt_digest": DIGEST, "num_positions": 17}}
    assert parse_kv_transfer_params(params.to_kv_transfer_params()) == params


def test_the_digest_of_an_unknown_prompt_is_parsed() -> None:
    params = PromptTransferParams(UNKNOWN_PROMPT_DIGEST, 1)
    assert parse_kv_transfer_params(params.to_kv_transfer_params()) == params


@pytest.mark.parametrize("absent", [None, {}])
def test_parsing_absent_params_returns_none(absent: object) -> None:
    assert parse_kv_transfer_params(absent) is None


def make_params(**fields: Any) -> dict[str, Any]:
    return {"softprompt": {"prompt_digest": DIGEST, "num_positions": 4, **fields}}


INVALID_PARAMS: dict[str, tuple[object, str]] = {
    "not an object": ("softprompt", "an object"),
    "a list": ([make_params()], "an object"),
    "another connector's": ({"do_remote_prefill": True}, "nothing else"),
    "ours and another's": ({**make_params(), "do_remote_prefill": True}, "nothing else"),
    "misspelt": ({"softpromt": {}}, "`softprompt`"),
    "not fields": ({"softprompt": DIGEST}, "`prompt_digest` and `num_positions`"),
    "no positions": ({"softprompt": {"prompt_digest": DIGEST}}, "`num_positions`"),
    "one field more": (make_params(path="/etc"), "nothing else"),
    "a path": (make_params(prompt_digest="../../etc/passwd"), "64 hexadecimal"),
    "a hash with a line feed": (make_params(prompt_digest=DIGEST + "\n"), "64 hexadecimal"),
    "a hash in capitals": (make_params(prompt_digest=DIGEST.upper()), "64 hexadecimal"),
    "a number for a hash": (make_params(prompt_digest=7), "64 hexadecimal"),
    "zero positions": (make_params(num_positions=0), "above 0"),
    "true": (make_params(num_positions=True), "above 0"),
    "half a position": (make_params(num_positions=1.5), "above 0"),
    "a text": (make_params(num_positions="4"), "above 0"),
}


@pytest.mark.parametrize("name", INVALID_PARAMS)
def test_invalid_params_are_rejected(name: str) -> None:
    params, message = INVALID_PARAMS[name]
    with pytest.raises(SettingError, match=message):
        parse_kv_transfer_params(params)


def test_tokens_of_a_request_start_with_placeholders() -> None:
    tokens = prepend_placeholders((7, 8), 3)
    assert tokens == [PLACEHOLDER_TOKEN_ID] * 3 + [7, 8]
    assert starts_with_placeholders(tokens)
    assert starts_with_placeholders(tuple(tokens))


@pytest.mark.parametrize("tokens", [[], [0], (0, 7), [7, 0, 0]])
def test_text_of_the_base_model_does_not_start_with_placeholders(tokens: Any) -> None:
    assert not starts_with_placeholders(tokens)


def test_errors_of_the_plugin_are_recognized() -> None:
    assert is_plugin_error(format_plugin_error(SettingError("no such prompt")))
    assert is_plugin_error("softprompt: no such prompt")
    assert not is_plugin_error("the model does not know softprompt: use another one")


def test_the_plugin_config_accepts_all_settings() -> None:
    config = PluginConfig.from_extra_config(
        {"artifact_location": "store/prompts", "fingerprint": FINGERPRINT, "cache_mib": 64}
    )
    assert config == PluginConfig("store/prompts", FINGERPRINT, 64 * MIB)


def test_the_plugin_config_requires_only_the_artifact_location() -> None:
    assert PluginConfig.from_extra_config({"artifact_location": "s3://bucket/prompts"}) == PluginConfig(
        "s3://bucket/prompts", None, 1024 * MIB
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"artifact_location": None}, "location of the prompts is missing"),
        ({"artifact_location": ""}, "location of the prompts is missing"),
        ({"promts": "x"}, "no setting 'promts'"),
        ({"fingerprint": "sha256:short"}, "softprompt show"),
        ({"fingerprint": 7}, "softprompt show"),
        ({"cache_mib": 0}, "MiB"),
        ({"cache_mib": True}, "MiB"),
        ({"cache_mib": "64"}, "MiB"),
    ],
)
def test_an_invalid_plugin_config_is_rejected(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        PluginConfig.from_extra_config({"artifact_location": "store/prompts", **change})


def test_the_transfer_config_is_parsed_as_it_was_built() -> None:
    transfer = build_kv_transfer_config("store/prompts", cache_mib=64)
    assert transfer["kv_connector"] == "SoftpromptConnector"
    assert transfer["kv_role"] == "kv_both"
    extra_config = transfer["kv_connector_extra_config"]
    assert PluginConfig.from_extra_config(extra_config) == PluginConfig("store/prompts", None, 64 * MIB)


def test_importing_vllm_protocol_needs_only_the_standard_library() -> None:
    """VLLM imports the module in each of its processes."""
    script = (
        "import sys; before = set(sys.modules); import softprompt.vllm_protocol;"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))"
    )
    modules = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert modules == ["softprompt"]
