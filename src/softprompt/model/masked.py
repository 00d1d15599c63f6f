"""A masked model: every token sees the whole row, so a prompt reads the text too and is run with every row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from softprompt.errors import ModelNotSupported, SettingError
from softprompt.model import cache as caches
from softprompt.model.frozen import FrozenModel, Payloads, virtual_tokens
from softprompt.model.lending import ATTENTION, Captured, Lent, standing_by
from softprompt.model.payload import Payload, Placement, Prefix


class MaskedModel(FrozenModel):
    """BERT, RoBERTa and the like, which fill blanks.

    A row is CLS, text, SEP. A prefix's keys and values are lent to every layer (P-tuning v2, Liu et al. 2021); the
    row's positions then begin behind them, as the paper's code and peft have it.

    Attributes:
        blank: the id of the mask token.
    """

    placements = (Placement.BEFORE, Placement.AFTER_BOS, Placement.IN_TEMPLATE)

    def __init__(self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str):
        if tokenizer.mask_token_id is None:
            raise ModelNotSupported(f"the tokenizer of {name} has no mask token, so this model has no blank to fill")
        network.set_attn_implementation(ATTENTION)
        super().__init__(network, tokenizer, name)
        self.blank: int = tokenizer.mask_token_id

    def row(self, ids: list[int]) -> list[int]:
        """A text's ids between CLS and SEP."""
        return [self.tokenizer.cls_token_id, *ids, self.tokenizer.sep_token_id]

    def answers(self, before: str, texts: Sequence[str]) -> list[list[int]]:
        """As it continues the text."""
        return self.continuations(before, texts)

    def room_beside(self, answer: int, room: int) -> int:
        """What the answer leaves: both are one row."""
        return room - answer

    def hidden(
        self,
        ids: Int[Tensor, "B T"],
        mask: Bool[Tensor, "B T"],
        payloads: Payloads = None,
        reads: Bool[Tensor, "B T"] | None = None,  # noqa: ARG002
    ) -> Float[Tensor, "B T H"]:
        """The last layer's output for each token, each row with its own payload."""
        embeddings = self.embed(ids, virtual_tokens(payloads))
        tensor, lent = caches.prefixes(payloads, ids.shape[0], self.device)
        if tensor is None:
            return self._run(embeddings, mask)
        with standing_by(Lent(tensor, lent)):
            return self._run(embeddings, mask, lent.sum(dim=1))

    def _run(
        self, embeddings: Float[Tensor, "B T E"], mask: Bool[Tensor, "B T"], before: Int[Tensor, "B"] | int = 0
    ) -> Float[Tensor, "B T H"]:
        first = torch.as_tensor(before, device=self.device).reshape(-1, 1) + self.family.first_position(self.network)
        output: Tensor = self.family.trunk(self.network)(
            inputs_embeds=embeddings,
            attention_mask=mask.long(),
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0) + first,
        ).last_hidden_state
        return output

    def summary(self, ids: Sequence[int]) -> int:
        """Up to the blank if there is one; else up to CLS, the first."""
        return ids.index(self.blank) + 1 if self.blank in ids else 1

    def compile(self, payload: Payload) -> Payload:
        """The payload as it is: embeddings see each row's text.

        Raises:
            SettingError: a prefix behind CLS, which is no place that keys and values have.
        """
        if isinstance(payload, Prefix) and payload.placement is not Placement.BEFORE:
            raise SettingError('every token of a masked model sees a prefix alike: choose `placement="before"`')
        return payload

    def prefill(self, embeddings: Float[Tensor, "P E"]) -> Float[Tensor, "L 2 G P D"]:
        """The keys and values that these embeddings leave when they are all there is: one row, with gradient."""
        captured = Captured()
        with standing_by(captured):
            self._run(
                embeddings.to(self.dtype).unsqueeze(0),
                torch.ones(1, len(embeddings), dtype=torch.bool, device=self.device),
            )
        return captured.tensor[:, :, 0]

    def first_values(self, ids: Int[Tensor, "N"]) -> Float[Tensor, "N _"]:
        """The first layer's values, `[N, G·D]`, of tokens each by itself."""
        captured = Captured()
        with standing_by(captured):
            self._run(self.embed(ids.unsqueeze(1)), torch.ones(len(ids), 1, dtype=torch.bool, device=self.device))
        return captured.tensor[0, 1].flatten(1).float()

    def checkpoint_gradients(self) -> None:
        """Refused: a layer that runs twice would meet the prefix twice.

        Raises:
            SettingError: always.
        """
        raise SettingError("gradient checkpointing is for causal models: leave it out with a masked model")
