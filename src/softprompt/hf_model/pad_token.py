"""A pad token other than EOS, so that collators which mask padding by its id keep the EOS of every sequence."""

from __future__ import annotations

import logging

from softprompt.model import FrozenModel

logger = logging.getLogger(__name__)


def ensure_pad_token(model: FrozenModel) -> None:
    """Set a separate pad token if the tokenizer has none or pads with EOS.

    transformers' `DataCollatorForLanguageModeling` masks every pad token in the labels. If the pad token were EOS, the
    model would never learn to stop. A tokenizer without an unused special token stays unchanged; a warning says so.
    """
    tokenizer = model.tokenizer
    if tokenizer.pad_token_id not in (None, model.eos_token_id):
        return
    if unused_tokens := _find_spare_tokens(model):
        tokenizer.pad_token = min(unused_tokens, key=_rank_pad_token)
    elif model.eos_token_id is not None:
        logger.warning(
            "the tokenizer of %s has no unused special token for padding: if sequences end with %s, batch them with "
            "`softprompt.DataCollatorForCausalLM`, or the model does not learn to stop",
            model.name,
            tokenizer.convert_ids_to_tokens(model.eos_token_id),
        )


def _find_spare_tokens(model: FrozenModel) -> list[str]:
    """Return the special tokens that occur in no text: not BOS, not EOS, not in the chat template."""
    template = str(model.tokenizer.chat_template or "")
    used_ids = {*model.eos_token_ids, model.prompt_tokenizer.bos_token_id, model.tokenizer.bos_token_id}
    return [
        token
        for token, token_id in model.prompt_tokenizer.special_token_ids.items()
        if token_id < model.shape.vocab_size and token_id not in used_ids and token not in template
    ]


def _rank_pad_token(token: str) -> tuple[bool, bool]:
    """Return a sort key: tokens made for padding first, then unknown-word tokens."""
    return ("pad" not in token.lower(), "unk" not in token.lower() and token != "<|endoftext|>")
