"""Options of transformers' `generate`: which options work with a prompt, and the defaults of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import GenerationConfig

from softprompt.errors import SettingError
from softprompt.sampling.sampling_params import MAX_GREEDY_TEMPERATURE

DEFAULT_MAX_NEW_TOKENS = 128
"""Default of `max_new_tokens`."""
HF_DEFAULT_MAX_LENGTH = 20
"""transformers' default of `max_length`, in tokens; `Seq2SeqTrainer` writes it into configurations."""

_OWN_CACHE_REASON = "the prompt is kept in a cache of its own type"
_OTHER_FORWARD_REASON = "it runs forward passes without the prompt"
_UNSUPPORTED_OPTIONS = {
    "past_key_values": "generation starts with the prompt, so pass the whole text",
    **dict.fromkeys(("cache_implementation", "cache_config", "prefill_chunk_size"), _OWN_CACHE_REASON),
    **dict.fromkeys(
        (
            "assistant_model",
            "assistant_tokenizer",
            "assistant_early_exit",
            "prompt_lookup_num_tokens",
            "custom_generate",
            "guidance_scale",
            "negative_prompt_ids",
            "negative_prompt_attention_mask",
        ),
        _OTHER_FORWARD_REASON,
    ),
    "position_ids": "positions are computed here and include virtual tokens",
    "token_type_ids": "causal models have no token types",
    "output_attentions": "attention weights are not kept",
    "output_hidden_states": "hidden states are not kept",
}
_ALLOWED_VALUES: Mapping[str, Sequence[Any]] = {"guidance_scale": (1,), "cache_implementation": ("dynamic", "hybrid")}


def check_options(options: Mapping[str, Any]) -> None:
    """Check that the options work with a prompt.

    Raises:
        SettingError: an option is not supported, or its value is invalid.
    """
    for name, reason in _UNSUPPORTED_OPTIONS.items():
        value = options.get(name)
        if value is None or value is False or (name in _ALLOWED_VALUES and value in _ALLOWED_VALUES[name]):
            continue
        raise SettingError(f"`SoftPromptModel.generate` does not support `{name}` ({reason}): remove the option")
    for name in ("num_beams", "num_return_sequences"):
        if (count := options.get(name)) is not None and count < 1:
            raise SettingError(f"`SoftPromptModel.generate`: invalid `{name}={count}`: choose at least 1")


def complete_options(
    options: Mapping[str, Any], given_config: GenerationConfig | None, default_config: GenerationConfig
) -> dict[str, Any]:
    """Add defaults for the length of a response and for sampling."""
    chosen = {name: value for name, value in options.items() if value is not None and name != "labels"}
    if not _has_length(chosen, given_config, default_config):
        chosen["max_new_tokens"] = DEFAULT_MAX_NEW_TOKENS
    if given_config is None and "temperature" in chosen:
        chosen.setdefault("do_sample", chosen["temperature"] > MAX_GREEDY_TEMPERATURE)
    if 0 <= chosen.get("temperature", 1) <= MAX_GREEDY_TEMPERATURE:
        del chosen["temperature"]
        chosen["do_sample"] = False
    return chosen


def _has_length(
    options: Mapping[str, Any], given_config: GenerationConfig | None, default_config: GenerationConfig
) -> bool:
    if "max_new_tokens" in options or "max_length" in options:
        return True
    configs = [config for config in (given_config, default_config) if config is not None]
    return any(
        config.max_new_tokens is not None or config.max_length not in (None, HF_DEFAULT_MAX_LENGTH)
        for config in configs
    )
