"""Scheduler: which sequences run in the next step, and how many tokens of each. Imports no torch.

Sequences join and leave at every step (continuous batching: Yu et al. 2022, Orca). Every decoding sequence continues
by one token. The rest of the step's token budget prefills other sequences in chunks, so that a long prompt stalls no
sequence (chunked prefill: Agrawal et al. 2023, arXiv 2308.16369): see `step_plan.py`. The next sequence to join is one
of the tenant with the smallest share of the slots, and among equal shares of the least served tenant
(`fair_queue.py`). While other tenants wait, a tenant with more than its share gives slots back. Its preempted sequences
wait again, and continue later from their tokens (`tenant_shares.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from softprompt.engine.prefill_order import PrefillOrder
from softprompt.engine.request import EngineRequest
from softprompt.engine.sequence import EngineSequence
from softprompt.engine.step_cost_model import StepCostModel
from softprompt.engine.step_plan import DECODE_TOKEN_COST, ScheduledChunk, StepPlan, plan_step
from softprompt.engine.tenant_shares import TenantShares
from softprompt.errors import SettingError
from softprompt.fair_queue import FairQueue


@dataclass(frozen=True)
class SlotMove:
    """Move of a sequence to the slot of one that left; its keys and values have to follow.

    Attributes:
        sequence: sequence that moved.
        source: its slot before, which is free now.
        target: its slot from now on.
    """

    sequence: EngineSequence
    source: int
    target: int


class Scheduler:
    """Scheduler of a fixed number of slots.

    Invariant: the slot of a running sequence is its index in `running`. When a sequence leaves, the last one moves into
    its slot. The returned `SlotMove` tells the caller to move that sequence's keys and values too.

    Args:
        max_num_seqs: number of slots: maximum number of running sequences.
        max_model_len: positions of a slot: maximum length of a sequence.
        max_num_batched_tokens: maximum number of tokens in a step, decoded ones included; twice as many while no
            sequence decodes.
        max_waiting_requests: maximum number of waiting requests. A tenant may have as many waiting requests as there
            are free places, so that there is always one for others (dynamic thresholds: Choudhury & Hahne 1998, doi
            10.1109/90.664262).
        max_kv_positions: maximum number of positions that all running sequences may need; None for all slots in full.

    Attributes:
        cost_model: cost model of steps; it is given the time of each step, and bounds steps that several tenants share.
    """

    def __init__(
        self,
        max_num_seqs: int,
        max_model_len: int,
        max_num_batched_tokens: int,
        max_waiting_requests: int,
        max_kv_positions: int | None = None,
    ):
        self.max_num_seqs, self.max_num_batched_tokens = max_num_seqs, max(max_num_batched_tokens, max_num_seqs + 1)
        self.max_kv_positions = max_num_seqs * max_model_len if max_kv_positions is None else max_kv_positions
        self.max_model_len = min(max_model_len, self.max_kv_positions)
        self.running: list[EngineSequence] = []
        self._waiting: FairQueue[EngineSequence] = FairQueue(max_waiting_requests)
        self._tenant_shares = TenantShares(max_num_seqs, self.max_kv_positions)
        self.cost_model, self._prefill_order, self._step_index = StepCostModel(), PrefillOrder(), 0

    @property
    def num_waiting(self) -> int:
        """Number of sequences without a slot."""
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        """Whether no sequence runs or waits."""
        return not self.running and not self._waiting

    def add_request(self, request: EngineRequest, prefix_length: int = 0) -> EngineSequence | None:
        """Queue a request; return None if its tenant has no place in the queue.

        Args:
            request: request to queue.
            prefix_length: positions of its soft prompt.

        Raises:
            SettingError: the sequence may need more positions than a slot has.
        """
        sequence = EngineSequence(request, prefix_length)
        if sequence.max_positions > self.max_model_len:
            raise SettingError(
                f"a prompt of {prefix_length} virtual and {len(request.prompt_token_ids)} text tokens "
                f"with a response of {request.sampling.max_new_tokens} tokens is longer than the "
                f"{self.max_model_len} positions of a sequence"
            )
        return sequence if self._waiting.put(request.tenant, sequence, float(len(request.prompt_token_ids))) else None

    def admit_waiting(self, on_preempt: Callable[[EngineSequence], None] | None = None) -> list[EngineSequence]:
        """Move waiting sequences into free slots, those of the tenant with the smallest share first.

        Order is strict: a sequence that does not fit blocks the others, so that long sequences are not starved.
        Sequences of a tenant with more than its share are preempted to make space (`TenantShares.find_victims`).

        Args:
            on_preempt: called instead of `preempt_sequence` to preempt a sequence; it must call that method itself.

        Returns:
            The admitted sequences.
        """
        admitted = []
        while self._waiting:
            tenant, sequence = self._waiting.peek()
            if not self._tenant_shares.has_capacity(sequence.max_positions):
                victims = self._tenant_shares.find_victims(
                    self.running, tenant, sequence.max_positions, self._waiting.get_tenant_service
                )
                if not victims:
                    break
                for victim in victims:
                    (on_preempt or self.preempt_sequence)(victim)
            self._assign_slot(tenant, sequence)
            admitted.append(sequence)
        return list(dict.fromkeys(sequence for sequence in admitted if sequence.slot >= 0))

    def _assign_slot(self, tenant: str, sequence: EngineSequence) -> None:
        self._waiting.get_from_tenant(tenant)
        self._tenant_shares.acquire_slot(tenant, sequence.max_positions)
        self._update_tenant_usage(tenant)
        sequence.slot, sequence.num_tokens_since_admission = len(self.running), 0
        self.running.append(sequence)

    def preempt_sequence(self, sequence: EngineSequence) -> SlotMove | None:
        """Take back the slot of a sequence, which waits in front of its tenant's others and is computed again later.

        Returns:
            The move of another sequence into the slot, as from `remove_sequence`.
        """
        move = self._free_slot(sequence)
        sequence.slot, sequence.num_computed_tokens, sequence.num_preemptions = -1, 0, sequence.num_preemptions + 1
        self._waiting.put_back(sequence.request.tenant, sequence)
        self._update_tenant_usage(sequence.request.tenant)
        return move

    def schedule_step(self, blocked: Collection[EngineSequence] = (), *, others_active: bool = False) -> StepPlan:
        """Return the plan of the next step.

        Args:
            blocked: sequences that keep their slots but are not part of this step.
            others_active: whether tenants without a running sequence sent requests recently.
        """
        self._step_index += 1
        sequences = [sequence for sequence in self.running if sequence not in blocked] if blocked else self.running
        plan = plan_step(
            sequences, self.max_num_batched_tokens, self.cost_model, self._prefill_order, others_active=others_active
        )
        for chunk in plan.chunks:
            chunk.sequence.last_step = self._step_index
        return plan

    def record_chunk(self, chunk: ScheduledChunk, token_id: int | None) -> None:
        """Record that a chunk was computed, and append the sampled token if the chunk was the last of its sequence."""
        sequence = chunk.sequence
        sequence.num_computed_tokens += chunk.num_tokens
        if token_id is not None:
            sequence.token_ids.append(token_id)
            sequence.num_tokens_since_admission += 1
            self._waiting.charge_tenant(sequence.request.tenant, DECODE_TOKEN_COST)

    def remove_sequence(self, sequence: EngineSequence) -> SlotMove | None:
        """Remove a finished sequence.

        Returns:
            The move of another sequence into its slot; None if no sequence moved.
        """
        if sequence.slot < 0:
            self._waiting.remove(sequence.request.tenant, sequence)
            return None
        move = self._free_slot(sequence)
        self._update_tenant_usage(sequence.request.tenant)
        return move

    def _free_slot(self, sequence: EngineSequence) -> SlotMove | None:
        self._tenant_shares.release_slot(sequence.request.tenant, sequence.max_positions)
        if (last := self.running.pop()) is sequence:
            return None
        move = SlotMove(last, source=last.slot, target=sequence.slot)
        last.slot, self.running[sequence.slot] = sequence.slot, last
        return move

    def _update_tenant_usage(self, tenant: str) -> None:
        self._waiting.set_tenant_usage(tenant, self._tenant_shares.get_tenant_share(tenant))

    def find_expired(self, now: float) -> Iterator[EngineSequence]:
        """Yield the sequences whose deadline has passed."""
        for sequence in [*self.running, *self._waiting]:
            if sequence.request.deadline is not None and sequence.request.deadline <= now:
                yield sequence
