"""Causal models: tokens attend only to earlier tokens, so a prompt before the text can be compiled once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache

from softprompt.errors import SettingError
from softprompt.model.branches import BranchedHiddenStates, SequenceBranches, run_in_micro_batches
from softprompt.model.generative_model import DecodingState, GenerativeModel
from softprompt.model.hidden_state_cache import HiddenStateCache, TensorStore, compute_config_digest
from softprompt.model.hooks.branch_cache import make_branch_cache
from softprompt.model.hooks.cache_layers import (
    CapturingCacheLayer,
    PrefixCapturingCacheLayer,
    StopForward,
    StoppingCacheLayer,
)
from softprompt.model.hooks.packed_layers import can_pack_weights, move_to_huge_pages, pack_layers
from softprompt.model.hooks.query_recorder import can_record_queries, record_queries
from softprompt.model.layer_runner import LayerRunner
from softprompt.model.past_state import PastState, build_growing_past_state, build_past_state
from softprompt.model.payload import FrozenPrefix, KVPrefix, Payload, Placement, PromptEmbeddings
from softprompt.model.payload_batch import BatchPayloads, broadcast_prefix, slice_layers
from softprompt.model.prompt_tokenizer import CausalPromptTokenizer

TEXT_DEPENDENT_PLACEMENTS = (Placement.AFTER_TEXT, Placement.IN_TEMPLATE)  # cannot be compiled


class CausalModel(GenerativeModel):
    """A causal model such as Llama, GPT-2 or BLOOM."""

    placements = (Placement.BEFORE, Placement.AFTER_BOS, Placement.AFTER_TEXT, Placement.IN_TEMPLATE)

    def __init__(self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str):
        self._layer_runner = LayerRunner(network, name)  # before `super().__init__`, which runs the network
        self._hidden_state_cache: HiddenStateCache | None = None
        super().__init__(network, CausalPromptTokenizer(tokenizer), name)

    def compute_hidden_states(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Bool[Tensor, "B T"],
        payloads: BatchPayloads = None,
        output_mask: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T H"]:
        """Compute the last layer's output: see `FrozenModel.compute_hidden_states`."""
        past = self.make_past_state(payloads, input_ids.shape[0])
        return self.forward_with_past(input_ids, attention_mask, past, output_mask)

    def make_past_state(self, payloads: BatchPayloads, batch_size: int, growable: bool = False) -> PastState:
        """Build the state that precedes the first token of each sequence.

        Args:
            payloads: compiled payloads.
            batch_size: number of sequences.
            growable: use a growing cache, as generation needs.
        """
        if growable:
            num_layers = len(self._layer_runner.layers)
            return build_growing_past_state(slice_layers(payloads, 0), batch_size, self.device, num_layers, self.dtype)
        frozen_prefixes = self._get_cached_prefixes(payloads, batch_size)
        first_layer = len(frozen_prefixes[0].tensor) if frozen_prefixes else 0
        past = build_past_state(slice_layers(payloads, first_layer), batch_size, self.device, first_layer)
        return replace(past, frozen_prefixes=frozen_prefixes)

    def forward_with_past(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Bool[Tensor, "B T"],
        past: PastState,
        output_mask: Bool[Tensor, "B T"] | None = None,
        inputs_embeds: Float[Tensor, "B T E"] | None = None,
    ) -> Float[Tensor, "B T H"]:
        """Compute the last layer's output for tokens that follow `past`; a growing cache grows by T positions.

        Args:
            input_ids: token ids, negative ones for virtual tokens.
            attention_mask: False at padding.
            past: state to continue from.
            output_mask: True at tokens whose output is needed; None for all.
            inputs_embeds: embeddings of `input_ids`, if the caller has computed them.

        Raises:
            SettingError: the sequence is longer than a sliding window.
        """
        hidden_states = None
        if self._hidden_state_cache and past.frozen_prefixes:
            hidden_states = self._hidden_state_cache.get_hidden_states(
                input_ids, attention_mask, past.frozen_prefixes, self._run_frozen_layers
            )
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids, past.virtual_embeddings)
        return self._layer_runner.run(past, inputs_embeds, attention_mask, hidden_states, output_mask=output_mask)

    def supports_branches(self, payloads: BatchPayloads) -> bool:
        """Return False if a layer may run twice, or if hidden states of the lower layers are looked up."""
        payload_list = payloads if isinstance(payloads, Sequence) else [payloads]
        uses_hidden_state_cache = self._hidden_state_cache is not None and any(
            isinstance(p, KVPrefix) and p.frozen_prefix is not None for p in payload_list
        )
        return self._layer_runner.runs_layers_once and not uses_hidden_state_cache

    def compute_branched_hidden_states(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Bool[Tensor, "B T"],
        payloads: BatchPayloads,
        output_mask: Bool[Tensor, "B T"],
        branches: SequenceBranches,
    ) -> BranchedHiddenStates:
        """See `FrozenModel`: continuations read the keys and values of their sequence, some of them at a time."""
        past = self.make_past_state(payloads, input_ids.shape[0], growable=True)
        hidden = self.forward_with_past(input_ids, attention_mask, past, output_mask)
        extended = past.extend_mask(attention_mask)

        def run_branches(chunk: SequenceBranches) -> Float[Tensor, "m l H"]:
            assert extended.kv_cache is not None
            cache = make_branch_cache(extended.kv_cache, chunk.parent_indices)
            branch_past = PastState(cache, extended.attention_mask[chunk.parent_indices])
            return self._layer_runner.run(branch_past, self.embed_tokens(chunk.input_ids), chunk.attention_mask)

        num_positions = extended.attention_mask.shape[1] + branches.input_ids.shape[1]
        return hidden, run_in_micro_batches(run_branches, branches, num_positions, self.forward_budget.max_tokens)

    def start_decoding(
        self, input_ids: Int[Tensor, "B T"], attention_mask: Bool[Tensor, "B T"], payloads: BatchPayloads
    ) -> DecodingState:
        """Prefill a growing cache with the sequences after their compiled payloads."""
        past = self.make_past_state(payloads, input_ids.shape[0], growable=True)
        return self._make_decoding_state(input_ids, attention_mask, past)

    def _make_decoding_state(
        self, input_ids: Int[Tensor, "B T"], attention_mask: Bool[Tensor, "B T"], past: PastState
    ) -> DecodingState:
        last = attention_mask.sum(dim=1) - 1
        is_last = torch.arange(attention_mask.shape[1], device=attention_mask.device) == last.unsqueeze(1)
        hidden = self.forward_with_past(input_ids, attention_mask, past, is_last)[torch.arange(len(last)), last]
        extended = past.extend_mask(attention_mask)

        def append_tokens(token_ids: Int[Tensor, "B"]) -> DecodingState:
            mask = attention_mask.new_ones(len(token_ids), 1)
            return self._make_decoding_state(token_ids.unsqueeze(1), mask, extended)

        return DecodingState(hidden, append_tokens)

    def with_hidden_state_cache(self, store: TensorStore) -> CausalModel:
        """Return a copy of the model that caches the hidden states of layers with a frozen prefix."""
        model = copy.copy(self)
        model_key = f"{self.fingerprint} {self.precision} {compute_config_digest(self.network)}"
        model._hidden_state_cache = HiddenStateCache(store, model_key)
        return model

    def _get_cached_prefixes(self, payloads: BatchPayloads, batch_size: int) -> tuple[FrozenPrefix, ...]:
        """Return the frozen prefix of each sequence if the hidden states above them are cached, else an empty tuple.

        They are cached if every sequence has a frozen prefix, and all these prefixes have equally many layers.
        """
        if self._hidden_state_cache is None:
            return ()
        payload_list = payloads if isinstance(payloads, Sequence) else [payloads] * batch_size
        prefixes = tuple(
            p.frozen_prefix for p in payload_list if isinstance(p, KVPrefix) and p.frozen_prefix is not None
        )
        is_uniform = len(prefixes) == batch_size and len({len(prefix.tensor) for prefix in prefixes}) == 1
        return prefixes if is_uniform else ()

    def _run_frozen_layers(self, input_ids: Int[Tensor, "1 T"], frozen_prefix: FrozenPrefix) -> Float[Tensor, "1 T H"]:
        """Compute the hidden states of one text above the layers of a frozen prefix."""
        mask = torch.ones_like(input_ids, dtype=torch.bool)
        with torch.no_grad():
            past = build_past_state(KVPrefix(frozen_prefix.tensor), 1, self.device)
            embeddings = self.embed_tokens(input_ids)
            return self._layer_runner.run(past, embeddings, mask, end_layer=len(frozen_prefix.tensor))

    def compile_payload(self, payload: Payload) -> Payload:
        """Compile a payload that precedes the text into a KV prefix: one forward pass, with gradient."""
        match payload:
            case PromptEmbeddings() if payload.placement in TEXT_DEPENDENT_PLACEMENTS:
                return payload
            case PromptEmbeddings(placement=Placement.AFTER_BOS):
                embeddings = torch.cat([self._embed_bos().to(payload.tensor.dtype), payload.tensor])
                return KVPrefix(self.compute_kv(embeddings), payload.placement, has_bos=True)
            case PromptEmbeddings():
                return KVPrefix(self.compute_kv(payload.tensor), payload.placement)
            case KVPrefix(is_complete=False):
                bos = self.compute_kv(self._embed_bos()).to(payload.tensor.dtype)
                return KVPrefix(torch.cat([bos, payload.tensor], dim=3), payload.placement, has_bos=True)
        return payload

    def compile_incrementally(self, payload: Payload, compiled: Payload | None, num_tokens: int) -> Payload:
        """Compile further virtual tokens and append them to `compiled`: see `FrozenModel`."""
        if not isinstance(payload, PromptEmbeddings) or payload.placement in TEXT_DEPENDENT_PLACEMENTS:
            return self.compile_payload(payload)
        if compiled is None:
            return self.compile_payload(payload.with_tensor(payload.tensor[:num_tokens]))
        assert isinstance(compiled, KVPrefix)
        first = compiled.num_virtual_tokens
        return self._append_embeddings(compiled, payload.tensor[first : first + num_tokens])

    def extend_prefix(self, payload: Payload | None, token_ids: Sequence[int]) -> Payload | None:
        """Append shared tokens to a prefix: see `FrozenModel`. A prefix with a frozen part stays unchanged.

        The frozen part is a key of the hidden-state cache, and the shared tokens differ from step to step.
        """
        match payload:
            case None:
                embeddings = self.embed_tokens(torch.tensor([token_ids], device=self.device))[0]
                return KVPrefix(self.compute_kv(embeddings), num_shared_tokens=len(token_ids))
            case KVPrefix(frozen_prefix=None):
                return self._append_tokens(payload, payload.apply_to_prompt(list(token_ids)))
        return payload

    def _append_tokens(self, prefix: KVPrefix, token_ids: Sequence[int]) -> KVPrefix:
        """Append the keys and values of tokens that all sequences begin with."""
        if not token_ids:
            return prefix
        extended = self._append_embeddings(prefix, self.embed_tokens(torch.tensor([token_ids], device=self.device))[0])
        return replace(extended, num_shared_tokens=prefix.num_shared_tokens + len(token_ids))

    def _append_embeddings(self, prefix: KVPrefix, embeddings: Float[Tensor, "T E"]) -> KVPrefix:
        """Append the keys and values that embeddings after the prefix produce."""
        layers = [PrefixCapturingCacheLayer(keys, values) for keys, values in prefix.tensor.unsqueeze(2)]
        past = PastState(Cache(layers=list(layers)), broadcast_prefix(prefix, 1)[1])
        mask = torch.ones(1, len(embeddings), dtype=torch.bool, device=self.device)
        self._layer_runner.run(past, embeddings.to(self.dtype).unsqueeze(0), mask)
        appended = torch.stack([layer.captured_kv for layer in layers]).to(prefix.tensor.dtype)
        return replace(prefix, tensor=torch.cat([prefix.tensor, appended], dim=3))

    def compute_kv(self, embeddings: Float[Tensor, "P E"]) -> Float[Tensor, "L 2 G P D"]:
        """Compute the keys and values of one sequence that consists of these embeddings, with gradient."""
        layers = [CapturingCacheLayer() for _ in self._layer_runner.layers]
        self._layer_runner.run_into_cache(embeddings.to(self.dtype).unsqueeze(0), Cache(layers=list(layers)))
        return torch.stack([layer.captured_kv for layer in layers])

    def compute_first_layer_values(self, token_ids: Int[Tensor, "N"]) -> Float[Tensor, "N _"]:
        """Compute the first layer's values, `[N, G·D]`, of N separate tokens, without running other layers."""
        layer = StoppingCacheLayer()
        with suppress(StopForward):
            self._layer_runner.run_into_cache(self.embed_tokens(token_ids.unsqueeze(1)), Cache(layers=[layer]))
        assert layer.values is not None
        return layer.values.flatten(1).float()

    def compute_queries(
        self, input_ids: Int[Tensor, "B T"], attention_mask: Bool[Tensor, "B T"], payloads: BatchPayloads = None
    ) -> Float[Tensor, "L A _ D"]:
        """Compute the queries of all tokens that are not padding, one sequence after the other, in every layer.

        They are as attention sees them: after the rotary embedding, and multiplied by the layer's attention scale, so
        that their products with keys are the logits of attention.

        Args:
            input_ids: token ids.
            attention_mask: False at padding.
            payloads: compiled payloads that precede the sequences.

        Raises:
            SettingError: the layers of this family do not let a library see their queries (BLOOM, Falcon).
        """
        if not can_record_queries(self.network):
            raise SettingError(
                f"the attention queries of {self.name} cannot be recorded: the layers of type "
                f"{self.network.config.model_type!r} do not call a registered attention function"
            )
        past = self.make_past_state(payloads, input_ids.shape[0])
        with record_queries(self.network) as layer_queries:
            self.forward_with_past(input_ids, attention_mask, past)
        return torch.stack([queries.transpose(0, 1)[:, attention_mask] for queries in layer_queries])

    def _embed_bos(self) -> Float[Tensor, "1 E"]:
        """Embed the BOS token; only called if the model has one (`prompts.check_placement`)."""
        return self.embed_tokens(torch.tensor([[self.prompt_tokenizer.bos_token_id]], device=self.device))[0]

    def enable_gradient_checkpointing(self) -> None:
        """Recompute each layer in the backward pass instead of keeping its activations: less memory, slower."""
        self._layer_runner.checkpoint_layers()

    def apply_fsdp(self, device: torch.device) -> None:
        """Shard each layer over all processes: see `FrozenModel`. Embeddings are replicated."""
        self._layer_runner.shard_layers(device)
        self.is_sharded = True

    def pack_weights(self) -> None:
        """Convert weights to the memory layout in which this CPU multiplies them fastest, if one is known.

        The original weights are deleted, so the model cannot be trained afterwards.
        """
        if self._lm_head.is_packed or self.missing_head_weights or not can_pack_weights(self.network):
            return
        _ = self.fingerprint, self.num_parameters  # cached from the original weights
        pack_layers(self._layer_runner.layers, self.family.is_llama_like(self.network.config))
        move_to_huge_pages(self.network, self._lm_head.pack_weights())
