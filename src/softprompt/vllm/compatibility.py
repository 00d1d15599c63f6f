"""Which vLLM, and which models and ways to run them, the plugin goes with. The one place that says so.

vLLM calls its connector interface experimental. So a version is supported when `make test-vllm` has passed with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from packaging.specifiers import SpecifierSet

from softprompt.errors import ModelNotSupported, SettingError

SUPPORTED_VLLM = ">=0.32.0,<0.33"  # as pyproject.toml has it


@dataclass(frozen=True)
class EngineFacts:
    """What is known when vLLM starts.

    Attributes:
        attention: how its cache calls each group of layers that share blocks, `FullAttentionSpec`.
        windows: those groups that see only so many tokens back, or only those of a chunk.
        block_size: slots of a block.
        hashed: positions that a name in the prefix cache is of; mostly those of a block.
        cache_dtype: of keys and values, as it was said: `auto` is the model's.
        model: what is special about the model, in words.
        running: what is special about how it is run, in words.
        failure_policy: what becomes of a request whose prefix cannot be read.
        role: whether vLLM asks the connector at all.
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
    """Refuse a vLLM that was not tested.

    Raises:
        SettingError: it is another one.
    """
    if not SpecifierSet(SUPPORTED_VLLM).contains(version, prereleases=True):
        raise SettingError(f"this softprompt goes with vLLM {SUPPORTED_VLLM}, not {version}: install one of these")


def check_engine_facts(facts: EngineFacts) -> None:
    """Refuse what would be answered wrongly.

    Raises:
        ModelNotSupported: a model whose layers a prefix does not fit.
        SettingError: a way to run it in which a prefix would be lost.
    """
    _check_model_support(facts)
    if facts.unsupported_options:
        raise SettingError(f"prompts cannot be served with {', '.join(facts.unsupported_options)}: leave that out")
    if facts.kv_load_failure_policy != "fail":
        raise SettingError('kv_load_failure_policy must be "fail": else placeholders would be computed and answered')
    if facts.kv_role not in ("kv_both", "kv_consumer"):
        raise SettingError('kv_role must be "kv_both"')
    if facts.hash_block_size not in (None, facts.block_size):
        raise SettingError("the prefix cache must hold whole blocks: leave out --prefix-match-unit")
    if facts.cache_dtype not in ("auto", "float32", "bfloat16", "float16"):
        raise SettingError(f"prompts cannot be kept in a cache of {facts.cache_dtype}: leave out --kv-cache-dtype")


def _check_model_support(facts: EngineFacts) -> None:
    special = [*facts.unsupported_model_features, *(["a sliding window"] if facts.num_windowed_groups else [])]
    special += [each for each in facts.attention_specs if each != "FullAttentionSpec"]
    if len(facts.attention_specs) > 1:
        special.append("layers of several kinds")
    if special or len(facts.attention_specs) != 1:
        what = ", ".join(dict.fromkeys(special)) or "no attention"
        raise ModelNotSupported(
            f"prompts are not served on a model with {what}: only on one all of whose layers see all tokens in front"
        )
