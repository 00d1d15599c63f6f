"""Which vLLM, and which models and ways to run them, the plugin goes with. The one place that says so.

vLLM calls its connector interface experimental. So a version is supported when `make test-vllm` has passed with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from packaging.specifiers import SpecifierSet

from softprompt.errors import ModelNotSupported, SettingError

VLLM = ">=0.32.0,<0.33"  # as pyproject.toml has it


@dataclass(frozen=True)
class Facts:
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

    attention: tuple[str, ...]
    block_size: int
    windows: int = 0
    hashed: int | None = None
    cache_dtype: str = "auto"
    model: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    failure_policy: str = "fail"
    role: str = "kv_both"


def check_version(version: str) -> None:
    """Refuse a vLLM that was not tested.

    Raises:
        SettingError: it is another one.
    """
    if not SpecifierSet(VLLM).contains(version, prereleases=True):
        raise SettingError(f"this softprompt goes with vLLM {VLLM}, not {version}: install one of these")


def check(facts: Facts) -> None:
    """Refuse what would be answered wrongly.

    Raises:
        ModelNotSupported: a model whose layers a prefix does not fit.
        SettingError: a way to run it in which a prefix would be lost.
    """
    _check_model(facts)
    if facts.running:
        raise SettingError(f"prompts cannot be served with {', '.join(facts.running)}: leave that out")
    if facts.failure_policy != "fail":
        raise SettingError('kv_load_failure_policy must be "fail": else placeholders would be computed and answered')
    if facts.role not in ("kv_both", "kv_consumer"):
        raise SettingError('kv_role must be "kv_both"')
    if facts.hashed not in (None, facts.block_size):
        raise SettingError("the prefix cache must hold whole blocks: leave out --prefix-match-unit")
    if facts.cache_dtype not in ("auto", "float32", "bfloat16", "float16"):
        raise SettingError(f"prompts cannot be kept in a cache of {facts.cache_dtype}: leave out --kv-cache-dtype")


def _check_model(facts: Facts) -> None:
    special = [*facts.model, *(["a sliding window"] if facts.windows else [])]
    special += [each for each in facts.attention if each != "FullAttentionSpec"]
    if len(facts.attention) > 1:
        special.append("layers of several kinds")
    if special or len(facts.attention) != 1:
        what = ", ".join(dict.fromkeys(special)) or "no attention"
        raise ModelNotSupported(
            f"prompts are not served on a model with {what}: only on one all of whose layers see all tokens in front"
        )
