"""Padding of generation batches: its side, and logits processors that ignore it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
)


def move_padding_left(tensor: Tensor, attention_mask: Bool[Tensor, "B T"]) -> Tensor:
    """Move the padding of a batch, `[B, T]` or `[B, T, E]`, to the left."""
    order = attention_mask.long().argsort(dim=1, stable=True)
    index = order if tensor.ndim == 2 else order.unsqueeze(-1).expand_as(tensor)
    return tensor.gather(1, index)


class IgnorePaddingLogitsProcessor(LogitsProcessor):
    """Logits processor that hides left padding from an inner processor.

    Args:
        inner: processor that depends on the tokens, not on their number.
        text_starts: `[B]`, index of the first text token of each sequence.
    """

    def __init__(self, inner: LogitsProcessor, text_starts: Int[Tensor, "B"]):
        self._inner, self._text_starts = inner, text_starts

    def __call__(self, input_ids: Int[Tensor, "R S"], scores: Float[Tensor, "R V"]) -> Float[Tensor, "R V"]:
        """Process each sequence separately. R is a multiple of B: beams, or several responses per text."""
        starts = self._text_starts.repeat_interleave(len(input_ids) // len(self._text_starts)).tolist()
        processed_scores = [
            self._inner(input_ids[i : i + 1, start:], scores[i : i + 1]) for i, start in enumerate(starts)
        ]
        return torch.cat(processed_scores)


def make_padding_blind_processors(
    options: dict[str, Any], configs: Sequence[GenerationConfig | None], text_starts: Int[Tensor, "B"]
) -> tuple[dict[str, Any], list[LogitsProcessor]]:
    """Replace options that look at previous tokens by processors that ignore padding.

    transformers would count the pad token as a previous token, so a response would depend on its batch.

    Returns:
        The remaining options, and the processors.
    """
    if not text_starts.any():
        return options, []
    processors: list[LogitsProcessor] = []
    if (penalty := _resolve_option("repetition_penalty", options, configs)) not in (None, 1):
        processors.append(RepetitionPenaltyLogitsProcessor(penalty=penalty))
    if size := _resolve_option("no_repeat_ngram_size", options, configs):
        processors.append(NoRepeatNGramLogitsProcessor(size))
    neutral = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0} if processors else {}
    return options | neutral, [IgnorePaddingLogitsProcessor(processor, text_starts) for processor in processors]


def _resolve_option(name: str, options: Mapping[str, Any], configs: Sequence[GenerationConfig | None]) -> Any:
    values = [options.get(name), *(getattr(config, name, None) for config in configs)]
    return next((value for value in values if value is not None), None)
