"""Plan of a step: which sequences take part, and how many tokens of each. Imports no torch.

Decoding sequences come first, with one token each; the rest of the budget prefills other sequences in chunks. While
several tenants take part, the time of a step may be bounded (`step_cost_model.py`); a tenant's sequences then take
turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from softprompt.engine.sequence import EngineSequence
from softprompt.engine.step_cost_model import StepCostModel, divide_max_min

DECODE_TOKEN_COST = 2.0  # cost of a decoded token relative to a prefilled one: each needs a step
UNLIMITED_TOKENS = 10**6  # more than any step has
# Factor of the token budget while no sequence decodes. Measured: 2 is 1 to 2% faster than 1; 4 is no faster than 2.
IDLE_PREFILL_FACTOR = 2


@dataclass(frozen=True)
class ScheduledChunk:
    """Chunk of a sequence that is computed in a step: its next `num_tokens` tokens."""

    sequence: EngineSequence
    num_tokens: int

    @property
    def is_last(self) -> bool:
        """Whether the chunk contains the newest token, so that the next token can be sampled."""
        return self.sequence.num_computed_tokens + self.num_tokens == len(self.sequence.token_ids)


def count_tokens(chunks: Iterable[ScheduledChunk]) -> tuple[int, int]:
    """Return the numbers of prefilled and decoded tokens of chunks."""
    num_prefill = num_decode = 0
    for chunk in chunks:
        if chunk.sequence.is_decoding:
            num_decode += 1
        else:
            num_prefill += chunk.num_tokens
    return num_prefill, num_decode


def plan_step(
    sequences: Sequence[EngineSequence], max_tokens: int, cost_model: StepCostModel, *, others_active: bool = False
) -> list[ScheduledChunk]:
    """Return the chunks of a step: decoding sequences in the order of their slots, then prefill chunks.

    While no sequence decodes, no client waits for its next token, so that a step prefills more, which is faster.

    Args:
        sequences: sequences that may take part.
        max_tokens: maximum number of tokens in the step.
        cost_model: estimates the time of steps.
        others_active: tenants without a running sequence may send requests during the step.
    """
    decode_chunks = [ScheduledChunk(sequence, 1) for sequence in sequences if sequence.is_decoding]
    prefill_chunks = _plan_prefill(
        [sequence for sequence in sequences if not sequence.is_decoding],
        max_tokens - len(decode_chunks) if decode_chunks else IDLE_PREFILL_FACTOR * max_tokens,
    )
    by_tenant = _group_by_tenant([*decode_chunks, *prefill_chunks])
    seconds_by_tenant = {
        tenant: cost_model.estimate_seconds(*count_tokens(chunks)) for tenant, chunks in by_tenant.items()
    }
    limit = cost_model.compute_step_limit(seconds_by_tenant, others_active=others_active)
    if limit is None or limit >= sum(seconds_by_tenant.values()):
        return decode_chunks + prefill_chunks
    shares = divide_max_min(seconds_by_tenant, limit)
    fitting = [
        chunk for tenant, chunks in by_tenant.items() for chunk in _fit_chunks(chunks, shares[tenant], cost_model)
    ]
    return sorted(fitting, key=lambda chunk: (not chunk.sequence.is_decoding, chunk.sequence.slot))


def _fit_chunks(chunks: Sequence[ScheduledChunk], seconds: float, cost_model: StepCostModel) -> list[ScheduledChunk]:
    """Return the chunks of a tenant that fit into its time, in seconds; at least one token.

    Sequences that have waited longest since their last step come first.
    """
    kept: list[ScheduledChunk] = []
    for chunk in sorted(chunks, key=lambda chunk: chunk.sequence.last_step):
        seconds_per_token = (
            cost_model.decode_token_seconds if chunk.sequence.is_decoding else cost_model.prefill_token_seconds
        )
        count = min(chunk.num_tokens, max(_count_affordable_tokens(seconds, seconds_per_token), 0 if kept else 1))
        if not count:
            break
        kept.append(ScheduledChunk(chunk.sequence, count))
        seconds -= seconds_per_token * count
    return kept


def _count_affordable_tokens(seconds: float, seconds_per_token: float) -> int:
    """Return the number of tokens that fit into a time."""
    return (
        int(min(max(seconds, 0.0) / seconds_per_token, UNLIMITED_TOKENS)) if seconds_per_token > 0 else UNLIMITED_TOKENS
    )


def _plan_prefill(sequences: Sequence[EngineSequence], max_tokens: int) -> list[ScheduledChunk]:
    """Divide the prefill tokens of a step among the tenants: equally, but unused tokens go to the others."""
    by_tenant: dict[str, list[EngineSequence]] = {}
    for sequence in sequences:
        by_tenant.setdefault(sequence.request.tenant, []).append(sequence)
    chunks: list[ScheduledChunk] = []
    groups = sorted(
        by_tenant.values(),
        key=lambda tenant_sequences: sum(sequence.num_uncomputed_tokens for sequence in tenant_sequences),
    )
    for index, tenant_sequences in enumerate(groups):
        tenant_chunks = _plan_tenant_prefill(tenant_sequences, ceil(max_tokens / (len(groups) - index)))
        max_tokens -= sum(chunk.num_tokens for chunk in tenant_chunks)
        chunks += tenant_chunks
    return chunks


def _plan_tenant_prefill(sequences: Sequence[EngineSequence], max_tokens: int) -> list[ScheduledChunk]:
    """Divide a tenant's prefill tokens among its sequences.

    A sequence takes at most half of the remaining tokens while others follow, so that a long prompt does not delay the
    start of short ones.
    """
    chunks = []
    for sequence in sequences:
        share = max_tokens if sequence is sequences[-1] else (max_tokens + 1) // 2
        if share:
            chunks.append(ScheduledChunk(sequence, min(share, sequence.num_uncomputed_tokens)))
            max_tokens -= chunks[-1].num_tokens
    return chunks


def _group_by_tenant(chunks: Sequence[ScheduledChunk]) -> dict[str, list[ScheduledChunk]]:
    by_tenant: dict[str, list[ScheduledChunk]] = {}
    for chunk in chunks:
        by_tenant.setdefault(chunk.sequence.request.tenant, []).append(chunk)
    return by_tenant
