"""`BidirectionalModel`: what masked models and encoder-decoders share."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from softprompt.errors import SettingError
from softprompt.model.frozen_model import FrozenModel
from softprompt.model.hooks.prefix_attention import ATTN_IMPLEMENTATION, KVRecorder, install_attention_hook
from softprompt.model.payload import KVPrefix, Payload, Placement
from softprompt.model.prompt_tokenizer import PromptTokenizer


class BidirectionalModel(FrozenModel):
    """A model with an encoder, in which every token attends to the whole text.

    Prompt embeddings attend to the text too, so they do not compile. The encoder has no KV cache, so a KV prefix is
    inserted in the attention function.
    """

    placements = (Placement.BEFORE, Placement.AFTER_BOS, Placement.IN_TEMPLATE)

    def __init__(self, network: PreTrainedModel, prompt_tokenizer: PromptTokenizer, name: str):
        network.set_attn_implementation(ATTN_IMPLEMENTATION)
        super().__init__(network, prompt_tokenizer, name)

    @abstractmethod
    def _run_encoder(
        self, inputs_embeds: Float[Tensor, "B T E"], attention_mask: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B T H"]:
        """Run the layers that read a text, and return the output of the last one."""

    def _record_encoder_kv(self, inputs_embeds: Float[Tensor, "B T E"]) -> tuple[Float[Tensor, "B T H"], KVRecorder]:
        """Run the encoder without padding or prefix; return its output, and the keys and values of its layers."""
        recorder = KVRecorder()
        mask = torch.ones(inputs_embeds.shape[:2], dtype=torch.bool, device=self.device)
        with install_attention_hook(recorder):
            hidden_states = self._run_encoder(inputs_embeds, mask)
        return hidden_states, recorder

    def compute_first_layer_values(self, token_ids: Int[Tensor, "N"]) -> Float[Tensor, "N _"]:
        """Compute the first layer's values, `[N, G·D]`, of N separate tokens."""
        _, recorder = self._record_encoder_kv(self.embed_tokens(token_ids.unsqueeze(1)))
        return recorder.layer_kv[0][1].flatten(1).float()

    def compile_payload(self, payload: Payload) -> Payload:
        """Return the payload unchanged: embeddings attend to the text of each sequence.

        Raises:
            SettingError: a KV prefix is not placed before the sequence.
        """
        if isinstance(payload, KVPrefix) and payload.placement is not Placement.BEFORE:
            raise SettingError(f'{self.family.kind} models support KV prefixes only with `placement="before"`')
        return payload

    def enable_gradient_checkpointing(self) -> None:
        """Raise an error: a layer that runs twice would get the prefix twice.

        Raises:
            SettingError: always.
        """
        raise SettingError(f"gradient checkpointing is for causal models: train {self.name} without it")
