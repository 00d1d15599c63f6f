"""End tokens: those of the tokenizer and of the model's generation configuration."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TypeGuard

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


def find_eos_token_ids(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> tuple[int, ...]:
    """Return the ids that end a response, the tokenizer's first; empty if there is none.

    An id outside the vocabulary is ignored with a warning.

    Args:
        network: network whose `generation_config.eos_token_id` is one id, a list, or None.
        tokenizer: tokenizer whose EOS is used, or its SEP if it has no EOS.
        name: name of the model, for the warning.
    """
    tokenizer_id = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    configured = as_list(getattr(getattr(network, "generation_config", None), "eos_token_id", None))
    token_ids = list(dict.fromkeys([*as_list(tokenizer_id), *configured]))
    valid = [token_id for token_id in token_ids if _is_token_id(token_id, network.config.vocab_size)]
    if invalid := [token_id for token_id in token_ids if not _is_token_id(token_id, network.config.vocab_size)]:
        logger.warning(
            "%s: `eos_token_id` %s is ignored: its tokens are numbered 0 to %d",
            name,
            ", ".join(map(repr, invalid)),
            network.config.vocab_size - 1,
        )
    return tuple(valid)


def set_generation_config(network: PreTrainedModel, folder: Path) -> None:
    """Set the generation configuration of a network without weights from the folder's file, if there is one."""
    if (folder / "generation_config.json").is_file():
        network.generation_config = GenerationConfig.from_pretrained(folder)


def as_list(token_ids: object) -> list[object]:
    """Return one id or several as a list; None gives an empty list."""
    if token_ids is None:
        return []
    return list(token_ids) if isinstance(token_ids, list | tuple) else [token_ids]


def _is_token_id(value: object, vocab_size: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < vocab_size
