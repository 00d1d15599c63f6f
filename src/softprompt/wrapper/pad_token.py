"""A pad token other than EOS, so that a collator which masks padding by its id does not mask the EOS of each row."""

from __future__ import annotations

import logging

from softprompt.model import FrozenModel

logger = logging.getLogger(__name__)


def give_pad_token(model: FrozenModel) -> None:
    """Give the tokenizer a pad token of its own, where its pad token is what ends a learnt response, or there is none.

    transformers' `DataCollatorForLanguageModeling` masks every pad token in the labels. Were it the end-of-text token
    too, no end would be learnt, and what is trained would never stop. A tokenizer that has no special token to spare is
    left as it is, with a warning.
    """
    tokenizer = model.tokenizer
    if tokenizer.pad_token_id not in (None, model.eos):
        return
    if spare := _spare_tokens(model):
        tokenizer.pad_token = min(spare, key=_suitability)
    elif model.eos is not None:
        logger.warning(
            "the tokenizer of %s has no special token to spare for padding: where rows end with %s, batch them with "
            "`softprompt.DataCollatorForCausalLM`, or no end is learnt",
            model.name,
            tokenizer.convert_ids_to_tokens(model.eos),
        )


def _spare_tokens(model: FrozenModel) -> list[str]:
    """The special tokens that stand in no text: none that begins or ends one, and none of the chat template's."""
    template = str(model.tokenizer.chat_template or "")
    taken = {*model.eos_token_ids, model.bos, model.tokenizer.bos_token_id}
    return [
        token
        for token, number in model.special_tokens.items()
        if number < model.shape.vocab_size and number not in taken and token not in template
    ]


def _suitability(token: str) -> tuple[bool, bool]:
    """What is made for padding comes first, then what stands for no word."""
    return ("pad" not in token.lower(), "unk" not in token.lower() and token != "<|endoftext|>")
