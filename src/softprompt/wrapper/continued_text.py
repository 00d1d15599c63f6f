"""A batch of texts that `generate` continues, as ids or embedded, padded on either side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from softprompt.errors import SettingError
from softprompt.wrapper.padding import moved_left


@dataclass(frozen=True)
class ContinuedText:
    """Texts.

    Attributes:
        tensor: `[B, T]` ids, or `[B, T, E]` embeddings.
        mask: `[B, T]`, false at padding.
    """

    tensor: Tensor
    mask: Bool[Tensor, "B T"]

    @classmethod
    def of(
        cls,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        attention_mask: Tensor | None,
        pad_token_id: int | None,
        device: torch.device,
    ) -> ContinuedText:
        """The texts of a call.

        Args:
            input_ids: `[B, T]`, or None.
            inputs_embeds: `[B, T, E]`, or None.
            attention_mask: `[B, T]`; without one, all is text but `pad_token_id`.
            pad_token_id: None where no token tells padding from text.
            device: where the model is.

        Raises:
            SettingError: there is no text, or two, or the shapes do not go together.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise SettingError("`SoftPromptModel.generate` needs `input_ids` or `inputs_embeds`, one of the two")
        name, tensor, dims = (
            ("input_ids", input_ids, 2) if inputs_embeds is None else ("inputs_embeds", inputs_embeds, 3)
        )
        if not isinstance(tensor, Tensor) or tensor.ndim != dims or 0 in tensor.shape:
            shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
            wanted = "[rows, tokens]" if dims == 2 else "[rows, tokens, size]"
            raise SettingError(f"`{name}` is {shape}: give a tensor {wanted} with at least one of each")
        tensor = tensor.to(device)
        return cls(tensor, _mask(tensor, attention_mask, pad_token_id))

    @property
    def is_embedded(self) -> bool:
        """It is embedded already."""
        return self.tensor.ndim == 3

    @cached_property
    def starts(self) -> Int[Tensor, "B"]:
        """Where each row's text begins once its padding is in front."""
        return (~self.mask).sum(dim=1)

    @property
    def padded_in_front(self) -> dict[str, Tensor]:
        """As transformers' `generate` takes it: it writes behind the last position of every row."""
        name = "inputs_embeds" if self.is_embedded else "input_ids"
        return {
            name: moved_left(self.tensor, self.mask),
            "attention_mask": moved_left(self.mask, self.mask).long(),
        }

    def restored(self, sequences: Int[Tensor, "R S"]) -> Int[Tensor, "R S"]:
        """What was generated behind the text as it was given; R is a multiple of B. Of embeddings there are no ids."""
        if self.is_embedded:
            return sequences
        given = self.tensor.repeat_interleave(len(sequences) // len(self.tensor), dim=0)
        return torch.cat([given, sequences[:, given.shape[1] :]], dim=1)


def _mask(tensor: Tensor, given: Tensor | None, pad_token_id: int | None) -> Bool[Tensor, "B T"]:
    shape = tensor.shape[:2]
    if given is not None:
        if given.shape != shape:
            raise SettingError(f"`attention_mask` is {tuple(given.shape)} where the text is {tuple(shape)}")
        return given.to(tensor.device).bool()
    if pad_token_id is None or tensor.ndim == 3:
        return torch.ones(shape, dtype=torch.bool, device=tensor.device)
    return tensor != pad_token_id
