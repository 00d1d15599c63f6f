"""Shares of the slots by tenant, and which sequences are preempted for others. Imports no torch.

A tenant's share is the larger of two: its part of the slots, and its part of the positions that fit into memory
(dominant resource fairness: Ghodsi et al. 2011, NSDI). A sequence is preempted for another tenant's if its own tenant
keeps at least as large a share without it as the other has with the new sequence. So two tenants never take the same
slot from each other repeatedly, and a single large sequence keeps its slot. With more tenants than slots, that rule
gives nothing to a tenant without a slot. Tenants then take turns: a sequence that has used its quantum is preempted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from softprompt.engine.sequence import EngineSequence, group_by_tenant

MIN_QUANTUM_TOKENS = 64  # minimum number of tokens generated in a quantum
# A quantum has at least one token for each 16 that must be computed again: a turn costs less than it brings.
RECOMPUTED_TOKENS_PER_QUANTUM_TOKEN = 16


class TenantShares:
    """Slots and KV cache positions in use, by tenant.

    Args:
        max_num_seqs: number of slots.
        max_kv_positions: number of positions that all running sequences may need.
    """

    def __init__(self, max_num_seqs: int, max_kv_positions: int):
        self._free_slots, self._free_positions = max_num_seqs, max_kv_positions
        self._max_num_seqs, self._max_kv_positions = max_num_seqs, max_kv_positions
        self._usage_by_tenant: dict[str, tuple[int, int]] = {}  # number of sequences, and their maximum positions

    def get_tenant_share(self, tenant: str) -> float:
        """Return a tenant's share, 0 to 1."""
        return self._dominant_share(*self._usage_by_tenant.get(tenant, (0, 0)))

    def has_capacity(self, num_positions: int, released: Sequence[EngineSequence] = ()) -> bool:
        """Whether a sequence of `num_positions` fits once the sequences `released` are preempted."""
        return (
            self._free_slots + len(released) >= 1
            and self._free_positions + sum(r.max_positions for r in released) >= num_positions
        )

    def acquire_slot(self, tenant: str, num_positions: int) -> None:
        """Record that a sequence of a tenant has a slot."""
        self._update_usage(tenant, 1, num_positions)

    def release_slot(self, tenant: str, num_positions: int) -> None:
        """Record that a sequence of a tenant has no slot any more."""
        self._update_usage(tenant, -1, -num_positions)

    def find_victims(
        self, running: Sequence[EngineSequence], tenant: str, num_positions: int, get_service: Callable[[str], float]
    ) -> list[EngineSequence]:
        """Find the sequences to preempt for another sequence.

        Args:
            running: all sequences with a slot.
            tenant: tenant of the sequence to admit.
            num_positions: maximum positions of the sequence to admit.
            get_service: returns how much a tenant was served.

        Returns:
            The sequences to preempt; none if the tenant has to wait.
        """
        others = [sequence for sequence in running if sequence.tenant != tenant]
        return self._find_share_victims(others, tenant, num_positions) or self._find_quantum_victims(
            others, tenant, num_positions, get_service
        )

    def _find_share_victims(
        self, others: Sequence[EngineSequence], tenant: str, num_positions: int
    ) -> list[EngineSequence]:
        """Return sequences of the tenants with the largest shares, those with the least to compute again first."""
        usage, remaining = self._usage_by_tenant.get(tenant, (0, 0)), dict(self._usage_by_tenant)
        new_share = self._dominant_share(usage[0] + 1, usage[1] + num_positions)
        sequences = group_by_tenant(
            sorted(others, key=lambda sequence: (sequence.num_computed_tokens, -sequence.slot), reverse=True)
        )
        victims: list[EngineSequence] = []
        while not self.has_capacity(num_positions, released=victims):
            largest = max(sequences, key=lambda name: self._dominant_share(*remaining[name]), default=None)
            if largest is None:
                return []
            victim = sequences[largest].pop()
            reduced = (remaining[largest][0] - 1, remaining[largest][1] - victim.max_positions)
            if self._dominant_share(*reduced) < new_share:  # otherwise one large sequence would be preempted repeatedly
                return []
            victims.append(victim)
            remaining[largest] = reduced
            if not sequences[largest]:
                del sequences[largest]
        return victims

    def _find_quantum_victims(
        self, others: Sequence[EngineSequence], tenant: str, num_positions: int, get_service: Callable[[str], float]
    ) -> list[EngineSequence]:
        """Return sequences that have used their quantum, of the most served tenants, for a tenant without a slot."""
        if tenant in self._usage_by_tenant:
            return []
        service, victims = get_service(tenant), list[EngineSequence]()
        for sequence in sorted(others, key=lambda sequence: get_service(sequence.tenant), reverse=True):
            if _has_used_quantum(sequence) and get_service(sequence.tenant) >= service:
                victims.append(sequence)
                if self.has_capacity(num_positions, released=victims):
                    return victims
        return []

    def _dominant_share(self, num_slots: int, num_positions: int) -> float:
        return max(num_slots / self._max_num_seqs, num_positions / self._max_kv_positions)

    def _update_usage(self, tenant: str, slot_change: int, position_change: int) -> None:
        self._free_slots -= slot_change
        self._free_positions -= position_change
        num_slots, num_positions = self._usage_by_tenant.pop(tenant, (0, 0))
        if num_slots + slot_change:
            self._usage_by_tenant[tenant] = (num_slots + slot_change, num_positions + position_change)


def _has_used_quantum(sequence: EngineSequence) -> bool:
    return sequence.num_tokens_since_admission >= max(
        MIN_QUANTUM_TOKENS, len(sequence.token_ids) // RECOMPUTED_TOKENS_PER_QUANTUM_TOKEN
    )
