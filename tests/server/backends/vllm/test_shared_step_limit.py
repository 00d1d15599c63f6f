"""Limit on a tenant's tokens in a replica's step while other tenants are active."""

from __future__ import annotations

import itertools

import pytest

from softprompt.server.backends.vllm.shared_step_limit import (
    INITIAL_LIMIT,
    MAX_PREFILL_TOKENS,
    SharedStepLimit,
    count_step_tokens,
)


class SimulatedReplica:
    """Replica whose step takes `base + per_sequence * N` seconds, with a clock of its own."""

    def __init__(self, base: float, per_sequence: float):
        self.base, self.per_sequence, self.now = base, per_sequence, 0.0
        self.limit = SharedStepLimit(lambda: self.now)

    def run_steps(self, num_sequences: int, count: int = 20) -> None:
        """Run steps; every sequence observes each of them."""
        for _ in range(count):
            seconds = self.base + self.per_sequence * num_sequences
            self.now += seconds
            for _ in range(num_sequences):
                self.limit.observe_step(num_sequences, seconds)

    def saturate_limit(self, rounds: int = 20) -> list[int]:
        """Run as many sequences as allowed, and now and then one alone; return the limits."""
        limits = []
        for _ in range(rounds):
            self.run_steps(1, 3)
            self.run_steps(self.limit.max_tokens)
            limits.append(self.limit.max_tokens)
        return limits


@pytest.mark.parametrize(("length", "counted"), [(0, 1), (1, 1), (3, 3), (2000, MAX_PREFILL_TOKENS)])
def test_a_new_sequence_counts_the_tokens_of_its_text_that_a_step_takes(length: int, counted: int) -> None:
    assert count_step_tokens(length) == counted


def test_the_limit_starts_low_and_at_most_doubles() -> None:
    limits = [INITIAL_LIMIT, *SimulatedReplica(0.02, 0.0001).saturate_limit()]
    assert all(after <= 2 * before for before, after in itertools.pairwise(limits))


def test_steps_stay_below_one_and_a_half_times_a_step_of_one_sequence() -> None:
    replica = SimulatedReplica(0.02, 0.001)
    limit = replica.saturate_limit()[-1]
    assert 8 <= limit <= 11
    assert 0.02 + 0.001 * limit <= 1.5 * (0.02 + 0.001)


def test_a_replica_with_steps_of_constant_time_is_hardly_limited() -> None:
    assert SimulatedReplica(0.02, 0.0).saturate_limit(9)[-1] > 1000  # each round doubles the limit, and its own time


def test_a_replica_that_slows_down_with_every_sequence_runs_one() -> None:
    assert SimulatedReplica(0.0001, 0.05).saturate_limit()[-1] == 1


def test_the_limit_follows_a_replica_that_becomes_slower_and_faster() -> None:
    replica = SimulatedReplica(0.02, 0.001)
    before = replica.saturate_limit()[-1]
    replica.per_sequence = 0.01
    assert replica.saturate_limit(60)[-1] <= 2
    replica.per_sequence = 0.001
    assert abs(replica.saturate_limit(60)[-1] - before) <= 2
