"""Rows of tokens as a batch whose labels are the tokens themselves, the token that ends a text among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from softprompt.errors import SettingError

IGNORED = -100  # a label that is not learnt


class DataCollatorForCausalLM:
    """Pads by length, so that no token of a text is taken for padding, whatever the pad token is.

    transformers' `DataCollatorForLanguageModeling` masks every pad token. Where that is the end-of-text token too, no
    end is learnt, and what is trained never stops.

    Args:
        tokenizer: whose pad token fills rows up; any token does, since none of it is seen or learnt.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self._pad_token_id: int = tokenizer.pad_token_id or 0

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Rows with `input_ids`, and with `labels` or `attention_mask` where they have their own, padded behind.

        Raises:
            SettingError: a row has no `input_ids`, or labels of another length.
        """
        for number, row in enumerate(rows, 1):
            _check(row, number)
        input_ids = [_as_tensor(row["input_ids"]) for row in rows]
        labels = [_as_tensor(row.get("labels", row["input_ids"])) for row in rows]
        masks = [_as_tensor(row.get("attention_mask", [1] * len(row["input_ids"]))) for row in rows]
        return {
            "input_ids": pad_sequence(input_ids, batch_first=True, padding_value=self._pad_token_id),
            "attention_mask": pad_sequence(masks, batch_first=True),
            "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
        }


def _check(row: Mapping[str, Any], number: int) -> None:
    if "input_ids" not in row:
        raise SettingError(f"row {number} of the batch has no `input_ids`: it has {', '.join(row) or 'nothing'}")
    for name in ("labels", "attention_mask"):
        if name in row and len(row[name]) != len(row["input_ids"]):
            raise SettingError(
                f"row {number} of the batch has {len(row['input_ids'])} `input_ids` and {len(row[name])} `{name}`"
            )


def _as_tensor(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.long)
