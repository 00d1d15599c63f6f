"""`LMHead`: the language-modeling head of a network, from hidden states to logits."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from softprompt.model.family import ModelFamily, get_logit_softcap
from softprompt.model.hooks.packed_layers import PackedLinear


class LMHead:
    """The language-modeling head of one network.

    Args:
        network: transformers model with a head.
        family: family of the network.
    """

    def __init__(self, network: PreTrainedModel, family: ModelFamily):
        self._network, self._family = network, family
        self._logit_softcap = get_logit_softcap(network.config)
        self._packed: PackedLinear | None = None

    def compute_logits(
        self, hidden_states: Float[Tensor, "*rows H"], token_ids: Int[Tensor, "N"] | None = None
    ) -> Float[Tensor, "*rows V"]:
        """Compute logits `[…, V]` in float32, or `[…, N]` for the given tokens only."""
        states = self._family.get_head_transform(self._network)(hidden_states)
        logits = self._apply_packed(states) if token_ids is None else self._apply_rows(states, token_ids)
        logits = logits.float()
        return logits if self._logit_softcap is None else self._logit_softcap * torch.tanh(logits / self._logit_softcap)

    def _apply_packed(self, states: Float[Tensor, "*rows E"]) -> Float[Tensor, "*rows V"]:
        if self._packed is None:
            return self._apply_rows(states, slice(None))
        logits: Tensor = self._packed(states)
        return logits

    def _apply_rows(self, states: Float[Tensor, "*rows E"], token_ids: Tensor | slice) -> Float[Tensor, "*rows N"]:
        weight, bias = self._network.get_output_embeddings().weight, self._family.get_head_bias(self._network)
        return functional.linear(states, weight[token_ids], None if bias is None else bias[token_ids])

    @property
    def is_packed(self) -> bool:
        """Whether the weights are packed."""
        return self._packed is not None

    def pack_weights(self) -> PackedLinear:
        """Pack the weights for logits of all tokens, and return the packed layer."""
        weight, bias = self._network.get_output_embeddings().weight, self._family.get_head_bias(self._network)
        self._packed = PackedLinear(weight, bias)
        return self._packed
