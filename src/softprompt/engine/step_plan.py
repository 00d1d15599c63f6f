"""Plan of a step: which sequences take part, and how many tokens of each. Imports no torch.

Decoding sequences come first, with one token each; the rest of the budget prefills other sequences in chunks. While
several tenants take part, the time of a step may be bounded (`step_cost_model.py`); a tenant's sequences then take
turns. How many tokens a step prefills follows from equal parts of the tenants; they are then spent on one tenant after
the other (`prefill_order.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil

from softprompt.engine.prefill_order import PrefillOrder
from softprompt.engine.sequence import EngineSequence, group_by_tenant
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
    def tenant(self) -> str:
        """Tenant of the sequence."""
        return self.sequence.tenant

    @property
    def num_positions(self) -> int:
        """Number of positions whose keys and values the chunk reads, its own included."""
        return self.sequence.prefix_length + self.sequence.num_computed_tokens + self.num_tokens

    @property
    def is_last(self) -> bool:
        """Whether the chunk contains the newest token, so that the next token can be sampled."""
        return self.sequence.num_computed_tokens + self.num_tokens == len(self.sequence.token_ids)


@dataclass(frozen=True)
class StepPlan:
    """Chunks of a step, which are computed in this order.

    Attributes:
        decode: chunks of one token of the decoding sequences, in the order of their slots.
        prefill: chunks of the other sequences.
    """

    decode: Sequence[ScheduledChunk]
    prefill: Sequence[ScheduledChunk]

    @cached_property
    def chunks(self) -> list[ScheduledChunk]:
        """All chunks, in the order of the step."""
        return [*self.decode, *self.prefill]

    def count_tokens(self) -> tuple[int, int]:
        """Return the numbers of prefilled and decoded tokens."""
        return sum(chunk.num_tokens for chunk in self.prefill), len(self.decode)

    def count_positions(self) -> int:
        """Return the number of positions whose keys and values the chunks read, before they are computed."""
        return sum(chunk.num_positions for chunk in self.chunks)

    def estimate_tenant_seconds(self, cost_model: StepCostModel) -> dict[str, float]:
        """Return the time of each tenant's tokens in seconds, without the fixed cost of a step."""
        decode, prefill = group_by_tenant(self.decode), group_by_tenant(self.prefill)
        return {
            tenant: cost_model.estimate_seconds(
                sum(chunk.num_tokens for chunk in prefill.get(tenant, ())),
                len(decode.get(tenant, ())),
                sum(chunk.num_positions for chunk in (*prefill.get(tenant, ()), *decode.get(tenant, ()))),
            )
            for tenant in {**decode, **prefill}
        }


def plan_step(
    sequences: Sequence[EngineSequence],
    max_tokens: int,
    cost_model: StepCostModel,
    prefill_order: PrefillOrder,
    *,
    others_active: bool = False,
) -> StepPlan:
    """Return the plan of a step.

    While no sequence decodes, no client waits for its next token, so that a step prefills more, which is faster.

    Args:
        sequences: sequences that may take part.
        max_tokens: maximum number of tokens in the step.
        cost_model: estimates the time of steps.
        prefill_order: order of the tenants' prefills.
        others_active: whether tenants without a running sequence may send requests during the step.
    """
    decode = [ScheduledChunk(sequence, 1) for sequence in sequences if sequence.is_decoding]
    waiting = [sequence for sequence in sequences if not sequence.is_decoding]
    prefill = _share_prefill(waiting, max_tokens - len(decode) if decode else IDLE_PREFILL_FACTOR * max_tokens)
    plan = StepPlan(decode, prefill)
    seconds_by_tenant = plan.estimate_tenant_seconds(cost_model)
    limit = cost_model.compute_step_limit(seconds_by_tenant, others_active=others_active)
    if limit is not None and limit < sum(seconds_by_tenant.values()):
        plan = _shorten_plan(plan, divide_max_min(seconds_by_tenant, limit), cost_model)
    num_prefill_tokens, _ = plan.count_tokens()
    assigned = prefill_order.assign_tokens(waiting, num_prefill_tokens)
    return StepPlan(plan.decode, [ScheduledChunk(sequence, length) for sequence, length in assigned.items()])


def _shorten_plan(plan: StepPlan, seconds_by_tenant: Mapping[str, float], cost_model: StepCostModel) -> StepPlan:
    """Return the part of a plan that fits into the time of each tenant, in the order of slots."""
    fitting = [
        chunk
        for tenant, chunks in group_by_tenant(plan.chunks).items()
        for chunk in _fit_chunks(chunks, seconds_by_tenant[tenant], cost_model)
    ]
    fitting.sort(key=lambda chunk: chunk.sequence.slot)
    return StepPlan(
        [chunk for chunk in fitting if chunk.sequence.is_decoding],
        [chunk for chunk in fitting if not chunk.sequence.is_decoding],
    )


def _fit_chunks(chunks: Sequence[ScheduledChunk], seconds: float, cost_model: StepCostModel) -> list[ScheduledChunk]:
    """Return the chunks of a tenant that fit into its time, in seconds; at least one token.

    Sequences that have waited longest since their last step come first.
    """
    fitting: list[ScheduledChunk] = []
    for chunk in sorted(chunks, key=lambda chunk: chunk.sequence.last_step):
        seconds_per_token = (
            cost_model.decode_token_seconds if chunk.sequence.is_decoding else cost_model.prefill_token_seconds
        )
        seconds -= cost_model.position_seconds * chunk.num_positions
        num_affordable = _count_affordable_tokens(seconds, seconds_per_token)
        num_tokens = min(chunk.num_tokens, max(num_affordable, 0 if fitting else 1))
        if not num_tokens:
            break
        fitting.append(ScheduledChunk(chunk.sequence, num_tokens))
        seconds -= seconds_per_token * num_tokens
    return fitting


def _count_affordable_tokens(seconds: float, seconds_per_token: float) -> int:
    """Return the number of tokens that fit into a time."""
    return (
        int(min(max(seconds, 0.0) / seconds_per_token, UNLIMITED_TOKENS)) if seconds_per_token > 0 else UNLIMITED_TOKENS
    )


def _share_prefill(sequences: Sequence[EngineSequence], max_tokens: int) -> list[ScheduledChunk]:
    """Divide the prefill tokens of a step among the tenants: equally, but unused tokens go to the others."""
    chunks: list[ScheduledChunk] = []
    groups = sorted(
        group_by_tenant(sequences).values(),
        key=lambda tenant_sequences: sum(sequence.num_uncomputed_tokens for sequence in tenant_sequences),
    )
    for index, tenant_sequences in enumerate(groups):
        tenant_chunks = _plan_tenant_prefill(tenant_sequences, ceil(max_tokens / (len(groups) - index)))
        max_tokens -= sum(chunk.num_tokens for chunk in tenant_chunks)
        chunks += tenant_chunks
    return chunks


def _plan_tenant_prefill(sequences: Sequence[EngineSequence], max_tokens: int) -> list[ScheduledChunk]:
    """Return the chunks of a tenant's first sequences that fit."""
    chunks: list[ScheduledChunk] = []
    for sequence in sequences:
        if not max_tokens:
            break
        chunks.append(ScheduledChunk(sequence, min(max_tokens, sequence.num_uncomputed_tokens)))
        max_tokens -= chunks[-1].num_tokens
    return chunks
