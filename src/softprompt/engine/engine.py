"""Engine: continues the requests of many prompts together on one frozen model, step by step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, chain

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from softprompt.engine.active_request import ActiveRequest, OutputCallback
from softprompt.engine.async_grammar_state import wait_for_masks
from softprompt.engine.attention import DecodeBackend, StepAttention, select_decode_backend, use_engine_attention
from softprompt.engine.kv_cache import KVCache, TokenSegment
from softprompt.engine.mask_pool import MaskPool
from softprompt.engine.prefix_cache import BLOCK_SIZE, PrefixCache
from softprompt.engine.request import EngineRequest
from softprompt.engine.scheduler import Scheduler, SlotMove
from softprompt.engine.sequence import EngineSequence
from softprompt.engine.step_plan import ScheduledChunk, StepPlan
from softprompt.errors import ModelNotSupported
from softprompt.model import CausalModel, FrozenModel, KVPrefix, Payload, PromptEmbeddings
from softprompt.model.hooks.packed_layers import round_up_rows
from softprompt.recent_tenants import RecentTenants
from softprompt.sampling import FinishReason, SampledToken, TokenOutput
from softprompt.sampling.token_sampler import sample_tokens

MIB = 2**20


class Engine:
    """Inference engine with continuous batching.

    All sequences share the model's weights. The sequences of a tenant share the keys and values of texts that begin
    alike. Nothing else may run the model during a step.

    Args:
        model: causal model that supports other attention implementations.
        max_num_seqs: maximum number of running sequences.
        max_model_len: maximum length of a sequence in positions, its prompt included.
        max_num_batched_tokens: maximum number of tokens in a step; twice as many while no sequence decodes.
        max_waiting_requests: maximum number of waiting requests.
        kv_cache_bytes: bytes that the keys and values of all running sequences may occupy; None for all slots in full.
        prefix_cache_bytes: bytes of the prefix cache.
        clock: returns the time, in seconds, that deadlines refer to.
        decode_backend: builds the attention of decoding sequences; None for the fastest on the model's device.

    Attributes:
        scheduler: scheduler of the sequences.
        kv_cache: keys and values of the running sequences.
        prefix_cache: keys and values of computed text blocks.
        recent_tenants: tenants that sent requests recently, of any kind that runs on the model.
        last_step_seconds: estimated time of the last step for each tenant, in seconds.

    Raises:
        ModelNotSupported: the model does not support other attention implementations.
        IncompleteModel: the model has no LM head.
    """

    def __init__(
        self,
        model: FrozenModel,
        max_num_seqs: int = 64,
        max_model_len: int = 2048,
        max_num_batched_tokens: int = 256,
        max_waiting_requests: int = 1024,
        kv_cache_bytes: int | None = None,
        prefix_cache_bytes: int = 256 * MIB,
        clock: Callable[[], float] = time.monotonic,
        decode_backend: DecodeBackend | None = None,
    ):
        if not (isinstance(model, CausalModel) and model.network._supports_attention_backend):
            raise ModelNotSupported(
                f"{model.name} cannot be served: its family does not support other attention implementations"
            )
        model.check_lm_head()
        self.model, self._clock = model, clock
        # On a CPU the time of the thread, so that a stall caused by other threads is not taken for a cost of tokens.
        self._step_clock = time.thread_time if model.device.type == "cpu" else time.perf_counter
        max_model_len = min(max_model_len, model.shape.window)
        bytes_per_position = math.prod(model.shape.get_prefix_shape(1)) * model.dtype.itemsize
        max_kv_positions = None if kv_cache_bytes is None else kv_cache_bytes // bytes_per_position
        self.scheduler = Scheduler(
            max_num_seqs, max_model_len, max_num_batched_tokens, max_waiting_requests, max_kv_positions
        )
        self.kv_cache = KVCache(model.shape, max_num_seqs, max_model_len, model.device, model.dtype)
        self._decode_backend = (
            select_decode_backend(model.device, model.dtype) if decode_backend is None else decode_backend
        )
        self.prefix_cache: PrefixCache[Tensor] = PrefixCache(prefix_cache_bytes // (bytes_per_position * BLOCK_SIZE))
        self._active_requests: dict[EngineSequence, ActiveRequest] = {}
        self.last_step_seconds: Mapping[str, float] = {}
        self._mask_pool = MaskPool()
        self.recent_tenants = RecentTenants()

    @property
    def is_idle(self) -> bool:
        """Whether no request runs or waits."""
        return self.scheduler.is_idle

    def add_request(
        self, request: EngineRequest, payload: Payload | None, on_output: OutputCallback
    ) -> EngineSequence | None:
        """Queue a request with its compiled payload; return None if its tenant has no place in the queue.

        Args:
            request: request to queue.
            payload: compiled payload of the prompt; None without a soft prompt.
            on_output: called with each token of the response.

        Raises:
            SettingError: the sequence may need more positions than a slot has, or the biases or the grammar are for
                another vocabulary.
        """
        request.sampling.check_vocabulary(self.model.shape.vocab_size)
        prefix_length = 0
        if isinstance(payload, KVPrefix):
            # The cached hidden states of a frozen prefix are for training only.
            payload, prefix_length = payload.slice_from_layer(0), payload.num_positions
        self.recent_tenants.add_request(request.tenant)
        sequence = self.scheduler.add_request(request, prefix_length)
        if sequence is not None:
            self._active_requests[sequence] = ActiveRequest(sequence, payload, on_output)
        return sequence

    def cancel_request(self, sequence: EngineSequence, finish_reason: FinishReason = FinishReason.CANCELLED) -> None:
        """Stop a request if it is unfinished; its slot is free at once."""
        if sequence in self._active_requests:
            text = self._active_requests[sequence].flush_text()
            self._finish_sequence(sequence, TokenOutput(None, text, finish_reason))

    def abort_request(self, sequence: EngineSequence) -> None:
        """Stop a request after a failed step, in any state of its sequence; text that was held back is not emitted."""
        if sequence in self._active_requests:
            self._finish_sequence(sequence, TokenOutput(None, "", FinishReason.CANCELLED), has_failed=True)

    @torch.inference_mode()
    def step(self) -> None:
        """Run one step: decode a token or prefill a chunk of each running sequence, and stop expired requests."""
        for sequence in list(self.scheduler.find_expired(self._clock())):
            self.cancel_request(sequence, FinishReason.TIMEOUT)
        for sequence in self.scheduler.admit_waiting(self._preempt_sequence):
            self._active_requests[sequence].start_response(self.model, self._mask_pool)
            self._load_prefix(sequence)
        others_active = self.recent_tenants.has_others({sequence.tenant for sequence in self.scheduler.running})
        plan = self.scheduler.schedule_step(self._find_blocked_sequences(), others_active=others_active)
        start_time = self._step_clock()  # waiting for masks is not a cost of the step
        self.last_step_seconds = {}
        if not (chunks := plan.chunks):
            return
        self.last_step_seconds = self._estimate_tenant_costs(plan)
        num_positions = plan.count_positions()
        hidden = self._run_forward(plan)
        sampled = self._sample_chunks(hidden, chunks, [chunk for chunk in chunks if chunk.is_last])
        for chunk in chunks:
            token = sampled.get(chunk)
            self.scheduler.record_chunk(chunk, None if token is None else token.token_id)
        for chunk in plan.prefill:
            if (token := sampled.get(chunk)) is not None and token.token_id is not None:
                self._cache_blocks(chunk.sequence)
        for chunk, token in sampled.items():
            self._emit_token(chunk.sequence, token)
        seconds = self._step_clock() - start_time
        self.scheduler.cost_model.observe_step(*plan.count_tokens(), seconds, num_positions=num_positions)

    def _estimate_tenant_costs(self, plan: StepPlan) -> dict[str, float]:
        """Return the time of a step for each tenant: an equal part of the fixed cost, plus its own tokens."""
        seconds_by_tenant = plan.estimate_tenant_seconds(self.scheduler.cost_model)
        base = self.scheduler.cost_model.base_seconds / len(seconds_by_tenant)
        return {tenant: base + seconds for tenant, seconds in seconds_by_tenant.items()}

    def _find_blocked_sequences(self) -> set[EngineSequence]:
        """Wait briefly for grammar masks, and return the sequences whose mask is not ready."""
        grammar_states = {
            sequence: grammar_state
            for sequence in self.scheduler.running
            if (grammar_state := self._active_requests[sequence].grammar_state) is not None
        }
        if grammar_states:
            is_idle = not any(
                sequence not in grammar_states or grammar_states[sequence].is_ready
                for sequence in self.scheduler.running
            )
            wait_for_masks(grammar_states.values(), is_idle=is_idle)
        return {sequence for sequence, grammar_state in grammar_states.items() if not grammar_state.is_ready}

    def _load_prefix(self, sequence: EngineSequence) -> None:
        """Write a sequence's KV prefix and cached blocks to its slot."""
        payload = self._active_requests[sequence].payload
        if isinstance(payload, KVPrefix):
            self.kv_cache.load_states(sequence.slot, 0, payload.tensor)
        if (salt := _cache_salt(sequence)) is not None:
            for states in self.prefix_cache.match_prefix(salt, sequence.token_ids):
                self.kv_cache.load_states(sequence.slot, sequence.prefix_length + sequence.num_computed_tokens, states)
                sequence.num_computed_tokens += states.shape[3]
            if not sequence.num_preemptions:
                sequence.num_cached_tokens = sequence.num_computed_tokens

    def _preempt_sequence(self, sequence: EngineSequence) -> None:
        """Take back the slot of a sequence. Its output state is kept, so that the response continues unchanged."""
        self._cache_blocks(sequence)
        slot = sequence.slot
        if not sequence.is_decoding:
            self.kv_cache.zero_slot(slot)
        self._release_slot(slot, self.scheduler.preempt_sequence(sequence))

    def _cache_blocks(self, sequence: EngineSequence) -> None:
        """Insert the computed blocks of a sequence into the prefix cache."""
        if (salt := _cache_salt(sequence)) is not None:
            self.prefix_cache.insert_blocks(
                salt,
                sequence.token_ids[: sequence.num_computed_tokens],
                lambda start, stop: self.kv_cache.read_states(
                    sequence.slot, sequence.prefix_length + start, sequence.prefix_length + stop
                ),
            )

    def _run_forward(self, plan: StepPlan) -> Float[Tensor, "T H"]:
        """Run the chunks of a step through the backbone; return the last hidden states.

        The flat sequence is padded to a length that the layers do not pad further.
        """
        model, chunks = self.model, plan.chunks
        segments, num_tokens = [], 0
        for chunk in chunks:
            segments.append(self._make_segment(chunk, num_tokens))
            num_tokens += chunk.num_tokens
        num_decode = len(plan.decode)
        step = StepAttention(self.kv_cache, self._decode_backend, segments[:num_decode], segments[num_decode:])
        positions = torch.cat(
            [
                torch.arange(segment.num_past_positions, segment.num_past_positions + segment.num_tokens)
                for segment in segments
            ]
        ).to(model.device)
        num_padding = round_up_rows(num_tokens) - num_tokens
        with use_engine_attention(model.network):
            output: Tensor = model.family.get_backbone(model.network)(
                inputs_embeds=pad(self._embed_tokens(chunks), (0, 0, 0, num_padding)),
                position_ids=pad(positions, (0, num_padding)).unsqueeze(0),
                use_cache=False,
                step=step,
            ).last_hidden_state
        return output[0, :num_tokens]

    def _make_segment(self, chunk: ScheduledChunk, start: int) -> TokenSegment:
        return TokenSegment(
            chunk.sequence.slot,
            start,
            chunk.num_tokens,
            chunk.sequence.prefix_length + chunk.sequence.num_computed_tokens,
        )

    def _embed_tokens(self, chunks: Sequence[ScheduledChunk]) -> Float[Tensor, "1 T E"]:
        """Embed the chunks' tokens, including virtual tokens among them."""
        token_ids = [
            chunk.sequence.token_ids[
                chunk.sequence.num_computed_tokens : chunk.sequence.num_computed_tokens + chunk.num_tokens
            ]
            for chunk in chunks
        ]
        embeddings = self.model.embed_tokens(
            torch.tensor([list(chain.from_iterable(token_ids))], device=self.model.device)
        )
        for end, chunk, chunk_ids in zip(accumulate(map(len, token_ids)), chunks, token_ids, strict=True):
            payload = self._active_requests[chunk.sequence].payload
            if isinstance(payload, PromptEmbeddings) and min(chunk_ids) < 0:
                chunk_tensor = torch.tensor([chunk_ids], device=self.model.device)
                embeddings[:, end - len(chunk_ids) : end] = self.model.embed_tokens(
                    chunk_tensor, payload.tensor.unsqueeze(0)
                )
        return embeddings

    def _sample_chunks(
        self, hidden: Float[Tensor, "T H"], chunks: Sequence[ScheduledChunk], last_chunks: Sequence[ScheduledChunk]
    ) -> Mapping[ScheduledChunk, SampledToken]:
        """Sample the next token of each sequence whose newest token was computed."""
        if not last_chunks:
            return {}
        ends = dict(zip(chunks, accumulate(chunk.num_tokens for chunk in chunks), strict=True))
        last_indices = torch.tensor([ends[chunk] - 1 for chunk in last_chunks], device=hidden.device)
        states = [self._active_requests[chunk.sequence].output_state for chunk in last_chunks]
        tokens = sample_tokens(self.model.compute_logits(hidden[last_indices]), states)
        return dict(zip(last_chunks, tokens, strict=True))

    def _emit_token(self, sequence: EngineSequence, sampled: SampledToken) -> None:
        """Emit the newest token of a sequence, and finish the sequence if it is the last."""
        active = self._active_requests[sequence]
        output = active.output_state.accept_token(sampled)
        if output.finish_reason is None:
            active.on_output(output)
            return
        if output.token_id is not None:
            self._cache_blocks(sequence)
        self._finish_sequence(sequence, output)

    def _finish_sequence(self, sequence: EngineSequence, output: TokenOutput, *, has_failed: bool = False) -> None:
        slot = sequence.slot
        if slot >= 0 and (has_failed or output.finish_reason is FinishReason.NON_FINITE or not sequence.is_decoding):
            self.kv_cache.zero_slot(slot)
        self._release_slot(slot, self.scheduler.remove_sequence(sequence))
        active = self._active_requests.pop(sequence)
        active.close()
        active.on_output(output)

    def _release_slot(self, slot: int, move: SlotMove | None) -> None:
        """Release the memory of a slot that a sequence left, or move the keys and values of the one that took it."""
        if move is not None:
            num_positions = move.sequence.prefix_length + move.sequence.num_computed_tokens
            self.kv_cache.move_slot(move.source, move.target, num_positions)
            self.kv_cache.release_tail(move.target, num_positions)
            self.kv_cache.release_tail(move.source, 0)
        elif slot >= 0:
            self.kv_cache.release_tail(slot, 0)


def _cache_salt(sequence: EngineSequence) -> tuple[str, str] | None:
    """Return the salt of a sequence's block hashes; None disables prefix caching."""
    request = sequence.request
    return None if request.prompt_digest is None else (request.tenant, request.prompt_digest)
