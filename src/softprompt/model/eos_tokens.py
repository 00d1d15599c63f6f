"""Which tokens end a response: the tokenizer's, and those that the model's own configuration of generating names."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TypeGuard

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


def find_eos_token_ids(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> tuple[int, ...]:
    """The ids at which a response ends, the tokenizer's own first; none where neither names one.

    An id that is no token of the model's is left out, with a warning.

    Args:
        network: with its `generation_config`, whose `eos_token_id` may be one id or a list.
        tokenizer: its EOS counts, or else its SEP.
        name: what the model is called in the warning.
    """
    own = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    configured = as_list(getattr(getattr(network, "generation_config", None), "eos_token_id", None))
    found = list(dict.fromkeys([*as_list(own), *configured]))
    right = [each for each in found if _is_token_id(each, network.config.vocab_size)]
    if wrong := [each for each in found if not _is_token_id(each, network.config.vocab_size)]:
        logger.warning(
            "%s: `eos_token_id` %s is ignored: its tokens are numbered 0 to %d",
            name,
            ", ".join(map(repr, wrong)),
            network.config.vocab_size - 1,
        )
    return tuple(right)


def load_generation_config(network: PreTrainedModel, folder: Path) -> None:
    """Give a network that was made without weights the folder's `generation_config.json`, where there is one."""
    if (folder / "generation_config.json").is_file():
        network.generation_config = GenerationConfig.from_pretrained(folder)


def as_list(token_ids: object) -> list[object]:
    """One id or several as a list; None as an empty one."""
    if token_ids is None:
        return []
    return list(token_ids) if isinstance(token_ids, list | tuple) else [token_ids]


def _is_token_id(value: object, vocab_size: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < vocab_size
