"""Inputs of `generate`: a batch of token ids or embeddings, padded on either side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from softprompt.errors import SettingError
from softprompt.hf_model.padding_processors import move_padding_left


@dataclass(frozen=True)
class GenerationInputs:
    """A batch of texts to continue.

    Attributes:
        tensor: token ids `[B, T]`, or embeddings `[B, T, E]`.
        attention_mask: `[B, T]`, False at padding.
    """

    tensor: Tensor
    attention_mask: Bool[Tensor, "B T"]

    @classmethod
    def from_arguments(
        cls,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        attention_mask: Tensor | None,
        pad_token_id: int | None,
        device: torch.device,
    ) -> GenerationInputs:
        """Validate the arguments of `generate` and build the inputs.

        Args:
            input_ids: token ids `[B, T]`, or None.
            inputs_embeds: embeddings `[B, T, E]`, or None.
            attention_mask: `[B, T]`; None masks `pad_token_id`.
            pad_token_id: id of the pad token; None if the pad token may occur in a text.
            device: device of the model.

        Raises:
            SettingError: not exactly one of `input_ids` and `inputs_embeds` is given, or the shapes do not match.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise SettingError("`SoftPromptModel.generate` needs exactly one of `input_ids` and `inputs_embeds`")
        name, tensor, dims = (
            ("input_ids", input_ids, 2) if inputs_embeds is None else ("inputs_embeds", inputs_embeds, 3)
        )
        if not isinstance(tensor, Tensor) or tensor.ndim != dims or 0 in tensor.shape:
            shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
            expected_shape = "[sequences, tokens]" if dims == 2 else "[sequences, tokens, size]"
            raise SettingError(f"`{name}` is {shape}: pass a non-empty tensor {expected_shape}")
        tensor = tensor.to(device)
        return cls(tensor, _resolve_attention_mask(tensor, attention_mask, pad_token_id))

    @property
    def has_embeddings(self) -> bool:
        """Whether the inputs are embeddings."""
        return self.tensor.ndim == 3

    @cached_property
    def text_starts(self) -> Int[Tensor, "B"]:
        """Index of the first text token of each sequence after its padding has moved to the left."""
        return (~self.attention_mask).sum(dim=1)

    @property
    def left_padded_inputs(self) -> dict[str, Tensor]:
        """Arguments for transformers' `generate`, which appends tokens on the right of every sequence."""
        name = "inputs_embeds" if self.has_embeddings else "input_ids"
        return {
            name: move_padding_left(self.tensor, self.attention_mask),
            "attention_mask": move_padding_left(self.attention_mask, self.attention_mask).long(),
        }

    def restore_layout(self, sequences: Int[Tensor, "R S"]) -> Int[Tensor, "R S"]:
        """Replace the left-padded text in generated sequences by the original one.

        R is a multiple of B. Sequences generated from embeddings contain no text and are returned unchanged.
        """
        if self.has_embeddings:
            return sequences
        texts = self.tensor.repeat_interleave(len(sequences) // len(self.tensor), dim=0)
        return torch.cat([texts, sequences[:, texts.shape[1] :]], dim=1)


def _resolve_attention_mask(
    tensor: Tensor, attention_mask: Tensor | None, pad_token_id: int | None
) -> Bool[Tensor, "B T"]:
    shape = tensor.shape[:2]
    if attention_mask is not None:
        if attention_mask.shape != shape:
            raise SettingError(
                f"`attention_mask` has shape {tuple(attention_mask.shape)}, the text {tuple(shape)}: pass equal shapes"
            )
        return attention_mask.to(tensor.device).bool()
    if pad_token_id is None or tensor.ndim == 3:
        return torch.ones(shape, dtype=torch.bool, device=tensor.device)
    return tensor != pad_token_id
