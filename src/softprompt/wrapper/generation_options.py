"""The options of transformers' `generate`: which go with a prompt, and what is meant where one says nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import GenerationConfig

from softprompt.errors import SettingError

LONGEST = 128
"""Tokens of a response, where nothing says how many."""
THEIRS = 20
"""As many as transformers has in `max_length` where nothing does; `Seq2SeqTrainer` writes it into configurations."""
GREEDY_UP_TO = 1e-5
"""The temperature up to which nothing is drawn: logits divided by as little may be infinite."""

_OWN_CACHE = "the prompt lies in a cache of its own kind"
_OTHER_WAYS = "it runs the model in ways that know nothing of the prompt"
_REASONS = {
    "past_key_values": "a response begins with the prompt, so give the whole text without an earlier call's cache",
    **dict.fromkeys(("cache_implementation", "cache_config", "prefill_chunk_size"), _OWN_CACHE),
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
        _OTHER_WAYS,
    ),
    "position_ids": "positions are counted here, virtual tokens included",
    "token_type_ids": "the text of a causal model has no parts",
    "output_attentions": "attention is not kept",
    "output_hidden_states": "hidden states are not kept",
}
_HARMLESS: Mapping[str, Sequence[Any]] = {"guidance_scale": (1,), "cache_implementation": ("dynamic", "hybrid")}


def check_options(options: Mapping[str, Any]) -> None:
    """Whether a prompt can stand in front of what these options ask for.

    Raises:
        SettingError: it cannot.
    """
    for name, reason in _REASONS.items():
        value = options.get(name)
        if value is None or value is False or (name in _HARMLESS and value in _HARMLESS[name]):
            continue
        raise SettingError(f"`SoftPromptModel.generate` does not take `{name}`: {reason}; leave it out")
    for name in ("num_beams", "num_return_sequences"):
        if (count := options.get(name)) is not None and count < 1:
            raise SettingError(f"`SoftPromptModel.generate`: `{name}={count}`, choose at least 1")


def completed(options: Mapping[str, Any], given: GenerationConfig | None, default: GenerationConfig) -> dict[str, Any]:
    """Options with what is meant where they say nothing: how long a response may be, and whether it is drawn."""
    chosen = {name: value for name, value in options.items() if value is not None and name != "labels"}
    if not _has_length(chosen, given, default):
        chosen["max_new_tokens"] = LONGEST
    if given is None and "temperature" in chosen:
        chosen.setdefault("do_sample", chosen["temperature"] > GREEDY_UP_TO)
    if 0 <= chosen.get("temperature", 1) <= GREEDY_UP_TO:
        del chosen["temperature"]
        chosen["do_sample"] = False
    return chosen


def _has_length(options: Mapping[str, Any], given: GenerationConfig | None, default: GenerationConfig) -> bool:
    if "max_new_tokens" in options or "max_length" in options:
        return True
    configs = [config for config in (given, default) if config is not None]
    return any(config.max_new_tokens is not None or config.max_length not in (None, THEIRS) for config in configs)
