"""Data collator for causal language modeling that keeps the end-of-text token in the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from softprompt.errors import SettingError

IGNORE_INDEX = -100  # label that the loss ignores


class DataCollatorForCausalLM:
    """Data collator that pads by length, so that no text token is mistaken for padding.

    transformers' `DataCollatorForLanguageModeling` masks every pad token in the labels. If the pad token is also the
    end-of-text token, the model never learns to stop.

    Args:
        tokenizer: tokenizer whose pad token fills the batch. Any token will do, since padding is masked.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self._pad_token_id: int = tokenizer.pad_token_id or 0

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Pad features on the right into a batch.

        Args:
            features: mappings with `input_ids`, and optionally `labels` (default: `input_ids`) and `attention_mask`.

        Raises:
            SettingError: a feature has no `input_ids`, or `labels` or `attention_mask` of another length.
        """
        for number, feature in enumerate(features, 1):
            _check_feature(feature, number)
        input_ids = [_as_tensor(feature["input_ids"]) for feature in features]
        labels = [_as_tensor(feature.get("labels", feature["input_ids"])) for feature in features]
        masks = [_as_tensor(feature.get("attention_mask", [1] * len(feature["input_ids"]))) for feature in features]
        return {
            "input_ids": pad_sequence(input_ids, batch_first=True, padding_value=self._pad_token_id),
            "attention_mask": pad_sequence(masks, batch_first=True),
            "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORE_INDEX),
        }


def _check_feature(feature: Mapping[str, Any], number: int) -> None:
    if "input_ids" not in feature:
        raise SettingError(f"feature {number} of the batch has no `input_ids` (keys: {', '.join(feature) or 'none'})")
    for name in ("labels", "attention_mask"):
        if name in feature and len(feature[name]) != len(feature["input_ids"]):
            raise SettingError(
                f"feature {number} of the batch has {len(feature['input_ids'])} `input_ids` "
                f"but {len(feature[name])} `{name}`: give them the same length"
            )


def _as_tensor(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.long)
