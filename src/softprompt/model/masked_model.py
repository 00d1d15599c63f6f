"""Masked models: every token attends to the whole sequence, so a prompt is run with every sequence."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from softprompt.errors import ModelNotSupported
from softprompt.model.bidirectional_model import BidirectionalModel
from softprompt.model.hooks.prefix_attention import PrefixInjector, install_attention_hook
from softprompt.model.payload_batch import BatchPayloads, batch_prefixes, stack_virtual_tokens
from softprompt.model.prompt_tokenizer import MaskedPromptTokenizer


class MaskedModel(BidirectionalModel):
    """A masked model such as BERT or RoBERTa.

    A sequence is CLS, text, SEP. A KV prefix is inserted into every layer (P-tuning v2, Liu et al. 2021). Positions of
    the sequence begin after the prefix, as in the paper's code and in peft.
    """

    prompt_tokenizer: MaskedPromptTokenizer

    def __init__(self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str):
        if tokenizer.mask_token_id is None:
            raise ModelNotSupported(f"the tokenizer of {name} has no mask token: {name} is no masked language model")
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
        prefix_kv, prefix_mask = batch_prefixes(payloads, input_ids.shape[0], self.device)
        if prefix_kv is None:
            return self._run_encoder(embeddings, attention_mask)
        with install_attention_hook(PrefixInjector(prefix_kv, prefix_mask)):
            return self._run_encoder(embeddings, attention_mask, prefix_mask.sum(dim=1))

    def _run_encoder(
        self,
        inputs_embeds: Float[Tensor, "B T E"],
        attention_mask: Bool[Tensor, "B T"],
        prefix_lengths: Int[Tensor, "B"] | int = 0,
    ) -> Float[Tensor, "B T H"]:
        first_position = self.family.get_first_position(self.network)
        first = torch.as_tensor(prefix_lengths, device=self.device).reshape(-1, 1) + first_position
        output: Tensor = self.family.get_backbone(self.network)(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask.long(),
            position_ids=(attention_mask.cumsum(dim=1) - 1).clamp(min=0) + first,
        ).last_hidden_state
        return output

    def compute_kv(self, embeddings: Float[Tensor, "P E"]) -> Float[Tensor, "L 2 G P D"]:
        """Compute the keys and values of one sequence that consists of these embeddings, with gradient."""
        _, recorder = self._record_encoder_kv(embeddings.to(self.dtype).unsqueeze(0))
        return torch.stack(recorder.layer_kv)[:, :, 0]
