"""Masked models: every token attends to the whole sequence, so a prompt is run with every sequence."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from softprompt.errors import ModelNotSupported, SettingError
from softprompt.model.frozen_model import BatchPayloads, FrozenModel, stack_virtual_tokens
from softprompt.model.hooks import cache_layers
from softprompt.model.hooks.prefix_attention import (
    ATTN_IMPLEMENTATION,
    KVRecorder,
    PrefixInjector,
    install_attention_hook,
)
from softprompt.model.payload import KVPrefix, Payload, Placement
from softprompt.model.prompt_tokenizer import MaskedPromptTokenizer


class MaskedModel(FrozenModel):
    """A masked model such as BERT or RoBERTa.

    A sequence is CLS, text, SEP. A KV prefix is inserted into every layer (P-tuning v2, Liu et al. 2021). Positions of
    the sequence begin after the prefix, as in the paper's code and in peft.
    """

    prompt_tokenizer: MaskedPromptTokenizer
    placements = (Placement.BEFORE, Placement.AFTER_BOS, Placement.IN_TEMPLATE)

    def __init__(self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str):
        if tokenizer.mask_token_id is None:
            raise ModelNotSupported(f"the tokenizer of {name} has no mask token: {name} is no masked language model")
        network.set_attn_implementation(ATTN_IMPLEMENTATION)
        super().__init__(network, MaskedPromptTokenizer(tokenizer), name)

    def compute_hidden_states(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Bool[Tensor, "B T"],
        payloads: BatchPayloads = None,
        output_mask: Bool[Tensor, "B T"] | None = None,  # noqa: ARG002
    ) -> Float[Tensor, "B T H"]:
        """Compute the last layer's output: see `FrozenModel.compute_hidden_states`."""
        embeddings = self.embed_tokens(input_ids, stack_virtual_tokens(payloads))
        tensor, prefix_mask = cache_layers.batch_prefixes(payloads, input_ids.shape[0], self.device)
        if tensor is None:
            return self._forward_network(embeddings, attention_mask)
        with install_attention_hook(PrefixInjector(tensor, prefix_mask)):
            return self._forward_network(embeddings, attention_mask, prefix_mask.sum(dim=1))

    def _forward_network(
        self,
        inputs_embeds: Float[Tensor, "B T E"],
        attention_mask: Bool[Tensor, "B T"],
        prefix_lengths: Int[Tensor, "B"] | int = 0,
    ) -> Float[Tensor, "B T H"]:
        first = torch.as_tensor(prefix_lengths, device=self.device).reshape(-1, 1) + self.family.get_first_position(
            self.network
        )
        output: Tensor = self.family.get_backbone(self.network)(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask.long(),
            position_ids=(attention_mask.cumsum(dim=1) - 1).clamp(min=0) + first,
        ).last_hidden_state
        return output

    def compile(self, payload: Payload) -> Payload:
        """Return the payload unchanged: embeddings attend to the text of each sequence.

        Raises:
            SettingError: a KV prefix is not placed before the sequence.
        """
        if isinstance(payload, KVPrefix) and payload.placement is not Placement.BEFORE:
            raise SettingError('masked models support KV prefixes only with `placement="before"`')
        return payload

    def compute_kv(self, embeddings: Float[Tensor, "P E"]) -> Float[Tensor, "L 2 G P D"]:
        """Compute the keys and values of one sequence that consists of these embeddings, with gradient."""
        captured = KVRecorder()
        with install_attention_hook(captured):
            self._forward_network(
                embeddings.to(self.dtype).unsqueeze(0),
                torch.ones(1, len(embeddings), dtype=torch.bool, device=self.device),
            )
        return captured.stacked_kv[:, :, 0]

    def compute_first_layer_values(self, token_ids: Int[Tensor, "N"]) -> Float[Tensor, "N _"]:
        """Compute the first layer's values, `[N, G·D]`, of N separate tokens."""
        captured = KVRecorder()
        with install_attention_hook(captured):
            self._forward_network(
                self.embed_tokens(token_ids.unsqueeze(1)),
                torch.ones(len(token_ids), 1, dtype=torch.bool, device=self.device),
            )
        return captured.stacked_kv[0, 1].flatten(1).float()

    def enable_gradient_checkpointing(self) -> None:
        """Raise an error: a layer that runs twice would get the prefix twice.

        Raises:
            SettingError: always.
        """
        raise SettingError("gradient checkpointing is for causal models: train a masked model without it")
