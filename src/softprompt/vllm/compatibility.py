"""The versions, models and options of vLLM that the plugin supports.

vLLM calls its connector interface experimental. So a version is supported when `make test-vllm` has passed with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from packaging.specifiers import SpecifierSet

from softprompt.errors import ModelNotSupported, SettingError

SUPPORTED_VLLM = ">=0.32.0,<0.33"  # equal to pyproject.toml
SUPPORTED_CACHE_DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class EngineFacts:
    """The configuration of a starting vLLM, as far as it concerns the plugin.

    Attributes:
        attention_specs: class name of each group of layers that share blocks, such as `FullAttentionSpec`.
        block_size: number of slots of a block.
        num_windowed_groups: number of groups with a sliding window or chunked attention.
        hash_block_size: number of positions per hash of the prefix cache, usually the block size.
        cache_dtype: data type of the KV cache; `auto` is the model's.
        unsupported_model_features: features of the model that prompts do not support, in words.
        unsupported_options: options of the server that prompts do not support, in words.
        kv_load_failure_policy: what vLLM does with a request whose prefix cannot be loaded.
        kv_role: role of the connector; it must load.
    """

    attention_specs: tuple[str, ...]
    block_size: int
    num_windowed_groups: int = 0
    hash_block_size: int | None = None
    cache_dtype: str = "auto"
    unsupported_model_features: tuple[str, ...] = ()
    unsupported_options: tuple[str, ...] = ()
    kv_load_failure_policy: str = "fail"
    kv_role: str = "kv_both"


def check_vllm_version(version: str) -> None:
    """Check that the version of vLLM is supported.

    Raises:
        SettingError: the version is not supported.
    """
    if not SpecifierSet(SUPPORTED_VLLM).contains(version, prereleases=True):
        raise SettingError(f"softprompt supports vLLM {SUPPORTED_VLLM}, not {version}: install a supported version")


def check_engine_facts(facts: EngineFacts) -> None:
    """Check that responses with prompts will be correct.

    Raises:
        ModelNotSupported: the model's layers do not support a prefix.
        SettingError: an option of the server does not support a prefix.
    """
    _check_model_support(facts)
    if facts.unsupported_options:
        raise SettingError(f"softprompt does not support {', '.join(facts.unsupported_options)}: remove these options")
    if facts.kv_load_failure_policy != "fail":
        raise SettingError(
            'kv_load_failure_policy must be "fail": otherwise vLLM would compute placeholders as if they were text'
        )
    if facts.kv_role not in ("kv_both", "kv_consumer"):
        raise SettingError('kv_role must be "kv_both"')
    if facts.hash_block_size not in (None, facts.block_size):
        raise SettingError("the prefix cache must hash whole blocks: remove --prefix-match-unit")
    if facts.cache_dtype not in SUPPORTED_CACHE_DTYPES:
        raise SettingError(
            f"softprompt does not support a KV cache of {facts.cache_dtype}: remove --kv-cache-dtype, or choose one of "
            f"{', '.join(SUPPORTED_CACHE_DTYPES)}"
        )


def _check_model_support(facts: EngineFacts) -> None:
    features = [*facts.unsupported_model_features, *(["a sliding window"] if facts.num_windowed_groups else [])]
    features += [spec for spec in facts.attention_specs if spec != "FullAttentionSpec"]
    if len(facts.attention_specs) > 1:
        features.append("layers of several kinds")
    if not facts.attention_specs and not features:
        features.append("no attention")
    if features:
        raise ModelNotSupported(
            f"softprompt does not support a model with {', '.join(dict.fromkeys(features))} on vLLM: every layer must "
            "attend to all previous tokens"
        )
