"""Which sequences the prefill tokens of a step are spent on. Imports no torch.

Prompts that are prefilled side by side, in equal parts, all have their first token at the end of the last one. One
after the other, each has it no later, and most have it sooner, if the order is that in which equal parts would have
ended (fair sojourn protocol: Friedman & Henderson 2003, doi 10.1145/781027.781056). So a short prompt that arrives late
still precedes a long one, and no stream of short prompts delays a long one beyond its share.

The order is that of virtual finish times (weighted fair queueing: Demers, Keshav & Shenker 1989, doi
10.1145/75246.75248). Tenants take turns in this order, and among them the sequences of each tenant.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from softprompt.engine.sequence import EngineSequence, group_by_tenant

K = TypeVar("K", bound=Hashable)


class PrefillOrder:
    """Order of the tenants, and of each tenant's sequences."""

    def __init__(self) -> None:
        self._tenant_clock: VirtualClock[str] = VirtualClock()
        self._clock_by_tenant: dict[str, VirtualClock[EngineSequence]] = {}

    def assign_tokens(self, sequences: Sequence[EngineSequence], num_tokens: int) -> dict[EngineSequence, int]:
        """Assign the tokens of a step to sequences, and record that these will be computed.

        Args:
            sequences: all sequences with tokens to prefill.
            num_tokens: number of tokens that the step prefills, at most as many as the sequences have.

        Returns:
            The number of tokens of each sequence that has any, in the order of the step.
        """
        by_tenant = group_by_tenant(sequences)
        self._clock_by_tenant = {
            tenant: self._clock_by_tenant.get(tenant) or VirtualClock[EngineSequence]() for tenant in by_tenant
        }
        orders = {
            tenant: self._clock_by_tenant[tenant].sort({each: each.num_uncomputed_tokens for each in own})
            for tenant, own in by_tenant.items()
        }
        first_lengths = {tenant: order[0].num_uncomputed_tokens for tenant, order in orders.items()}
        finishes = self._tenant_clock.get_finishes(first_lengths)
        assigned = _spend_tokens(orders, finishes, num_tokens)
        assigned_by_tenant = group_by_tenant(assigned)
        for tenant, chosen in assigned_by_tenant.items():
            self._clock_by_tenant[tenant].advance({sequence: assigned[sequence] for sequence in chosen})
        self._tenant_clock.advance(
            {tenant: sum(assigned[sequence] for sequence in chosen) for tenant, chosen in assigned_by_tenant.items()}
        )
        return assigned


class VirtualClock(Generic[K]):
    """Virtual time, and the positions of users (tenants or sequences) who share something.

    The time is the number of tokens that each user would have had so far in equal parts. A user starts at the present
    time and moves on by the tokens it has. One that is ahead of the time keeps its position when it comes back.
    """

    def __init__(self) -> None:
        self._time, self._position_by_user, self._num_users = 0.0, dict[K, float](), 0

    def get_finishes(self, num_tokens_by_user: Mapping[K, int]) -> dict[K, float]:
        """Return when each user would have the given number of tokens in addition, in virtual time."""
        ahead = {user: position for user, position in self._position_by_user.items() if position > self._time}
        self._position_by_user = ahead | {
            user: self._position_by_user.get(user, self._time) for user in num_tokens_by_user
        }
        self._num_users = len(num_tokens_by_user)
        return {user: self._position_by_user[user] + length for user, length in num_tokens_by_user.items()}

    def sort(self, num_tokens_by_user: Mapping[K, int]) -> list[K]:
        """Return the users in the order of their finishes; the first of equal ones first."""
        finishes = self.get_finishes(num_tokens_by_user)
        return sorted(finishes, key=finishes.__getitem__)

    def advance(self, num_tokens_by_user: Mapping[K, int]) -> None:
        """Record the tokens that some users get, while all users of the last call wait for some."""
        for user, num_tokens in num_tokens_by_user.items():
            self._position_by_user[user] += num_tokens
        if self._num_users:
            self._time += sum(num_tokens_by_user.values()) / self._num_users


def _spend_tokens(
    orders: Mapping[str, Sequence[EngineSequence]], finishes: Mapping[str, float], num_tokens: int
) -> dict[EngineSequence, int]:
    """Spend tokens on the first sequence of the tenant with the smallest finish, then on the next."""
    assigned: dict[EngineSequence, int] = {}
    remaining = {tenant: iter(order[1:]) for tenant, order in orders.items()}
    heads = [(finishes[tenant], index, order[0]) for index, (tenant, order) in enumerate(orders.items())]
    heapq.heapify(heads)
    while num_tokens and heads:
        finish, index, sequence = heads[0]
        assigned[sequence] = min(sequence.num_uncomputed_tokens, num_tokens)
        num_tokens -= assigned[sequence]
        following = next(remaining[sequence.tenant], None)
        if following is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (finish + following.num_uncomputed_tokens, index, following))
    return assigned
