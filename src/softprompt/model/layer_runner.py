"""`LayerRunner`: runs the layers of a causal network, all of them or a range, after a past state."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from softprompt.errors import SettingError
from softprompt.model.family import get_sliding_window, resolve_family
from softprompt.model.hooks.layer_checkpointing import checkpoint_layers
from softprompt.model.hooks.layer_range import LayerRangeEnd, view_layer_range
from softprompt.model.hooks.layer_sharding import shard_layers
from softprompt.model.hooks.sparse_last_layer import select_output_positions
from softprompt.model.past_state import PastState

MASK_BASED_ATTENTION = ("eager", "sdpa")  # take the visibility pattern as a mask; flash attention does not


class LayerRunner:
    """Runner of the layers of one causal network.

    Args:
        network: transformers model.
        name: name of the model, for error messages.

    Attributes:
        runs_layers_once: whether a layer runs at most once in a forward pass and its backward pass.
    """

    def __init__(self, network: PreTrainedModel, name: str):
        self._network, self._name = network, name
        self._family = resolve_family(network.config)
        has_sliding_window = get_sliding_window(network.config) is not None
        self._attention_span = self._family.get_max_positions(network.config) if has_sliding_window else None
        self._prunes_last_layer = network.config._attn_implementation in MASK_BASED_ATTENTION
        self.runs_layers_once = True

    @property
    def layers(self) -> nn.ModuleList:
        """Layers of the network, first to last."""
        return self._family.get_layers(self._network)

    @property
    def _backbone(self) -> nn.Module:
        return self._family.get_backbone(self._network)

    def run(
        self,
        past: PastState,
        inputs_embeds: Float[Tensor, "B T E"],
        attention_mask: Bool[Tensor, "B T"],
        hidden_states: Float[Tensor, "B T H"] | None = None,
        end_layer: int | None = None,
        output_mask: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T H"]:
        """Run the layers from `past.first_layer` up to, and excluding, `end_layer`; positions count real tokens only.

        Args:
            past: state that precedes the tokens; its cache grows by T positions if it can.
            inputs_embeds: embeddings of the tokens.
            attention_mask: False at padding.
            hidden_states: output of the layer below `past.first_layer`; None if that is the lowest layer.
            end_layer: layer to stop before; None to run to the end.
            output_mask: True at tokens whose output is needed; None for all.

        Raises:
            SettingError: a layer with a sliding window would not see the whole sequence.
        """
        self._check_attention_span(past.attention_mask.shape[1] + attention_mask.shape[1])
        positions = (past.lengths.unsqueeze(1) + attention_mask.cumsum(dim=1) - 1).clamp(min=0)
        try:
            output: Tensor = self._select_layers(past.first_layer, end_layer, hidden_states, output_mask)(
                inputs_embeds=inputs_embeds,
                attention_mask=torch.cat([past.attention_mask, attention_mask], dim=1).long(),
                past_key_values=past.kv_cache,
                use_cache=past.kv_cache is not None,
                **({"position_ids": positions} if self._family.uses_position_ids(self._network.config) else {}),
            ).last_hidden_state
        except LayerRangeEnd as end:
            return end.hidden_states
        return output

    def _check_attention_span(self, num_positions: int) -> None:
        """Check that every layer sees the whole sequence; padding can push the prompt out of a sliding window."""
        if self._attention_span is not None and num_positions > self._attention_span:
            raise SettingError(
                f"{num_positions} positions in a sequence, padding included, exceed the sliding window of {self._name} "
                f"({self._attention_span}): shorten the text, or batch sequences of one length"
            )

    def _select_layers(
        self, first_layer: int, end_layer: int | None, hidden_states: Tensor | None, output_mask: Tensor | None
    ) -> nn.Module:
        """Return the backbone, or a view of it that runs some layers, or the last one for some tokens."""
        prunes = output_mask is not None and self._prunes_last_layer
        output_positions = select_output_positions(output_mask) if prunes and output_mask is not None else None
        if not first_layer and end_layer is None and output_positions is None:
            return self._backbone
        return view_layer_range(
            self._backbone,
            self.layers,
            first_layer,
            end_layer or len(self.layers),
            hidden_states,
            self._family.layers_return_tuples,
            output_positions,
        )

    def run_into_cache(self, inputs_embeds: Float[Tensor, "B T E"], cache: Cache) -> None:
        """Run sequences without padding and without a past, for what the layers of the cache record."""
        self._backbone(
            inputs_embeds=inputs_embeds,
            attention_mask=torch.ones(inputs_embeds.shape[:2], dtype=torch.long, device=inputs_embeds.device),
            past_key_values=cache,
            use_cache=True,
        )

    def checkpoint_layers(self) -> None:
        """Recompute each layer in the backward pass instead of keeping its activations."""
        checkpoint_layers(self.layers)
        # A pruned last layer runs twice; its first run would be recomputed and stop early again.
        self.runs_layers_once = self._prunes_last_layer = False

    def shard_layers(self, device: torch.device) -> None:
        """Shard the layers over all processes; this one keeps its part on `device`."""
        shard_layers(self._network, self.layers, device)
        # FSDP gathers a layer's weights once per completed run of the layer.
        self.runs_layers_once = self._prunes_last_layer = False
