"""While other tenants wait, no tenant has more than its share of the slots; tested without a model."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.engine.request import EngineRequest
from softprompt.engine.scheduler import Scheduler
from softprompt.engine.sequence import EngineSequence
from softprompt.engine.tenant_shares import MIN_QUANTUM_TOKENS
from softprompt.sampling import SamplingParams

LONG = 1900


def add_sequence(scheduler: Scheduler, tenant: str, response: int = 4, text: int = 3) -> EngineSequence:
    sequence = scheduler.add_request(
        EngineRequest(tuple(range(5, 5 + text)), SamplingParams(max_new_tokens=response), tenant=tenant)
    )
    assert sequence is not None
    return sequence


def run_step(scheduler: Scheduler) -> list[EngineSequence]:
    """Run a step; return the sequences that finished."""
    scheduler.admit_waiting()
    for chunk in scheduler.schedule_step().chunks:
        scheduler.record_chunk(chunk, 7 if chunk.is_last else None)
    ended = [
        sequence
        for sequence in scheduler.running
        if len(sequence.output_token_ids) >= sequence.request.sampling.max_new_tokens
    ]
    for sequence in ended:
        scheduler.remove_sequence(sequence)
    return ended


def count_slots(scheduler: Scheduler) -> dict[str, int]:
    return dict(Counter(sequence.request.tenant for sequence in scheduler.running))


def count_steps_until_finished(scheduler: Scheduler, sequence: EngineSequence) -> int:
    return next(number for number in range(1, 10_000) if sequence in run_step(scheduler))


@pytest.mark.parametrize("slots", [1, 2, 64])
def test_a_small_request_is_served_soon_although_another_tenant_has_all_slots(slots: int) -> None:
    scheduler = Scheduler(slots, max_model_len=2048, max_num_batched_tokens=256, max_waiting_requests=256)
    for _ in range(max(slots, 64)):
        add_sequence(scheduler, "much", LONG)
    for _ in range(MIN_QUANTUM_TOKENS + 2):
        run_step(scheduler)
    assert count_slots(scheduler) == {"much": slots}
    for _ in range(20):
        assert count_steps_until_finished(scheduler, add_sequence(scheduler, "little")) <= (
            5 if slots > 1 else 2 * MIN_QUANTUM_TOKENS
        )


def test_a_single_tenant_uses_all_slots_without_preemption() -> None:
    scheduler = Scheduler(8, max_model_len=2048, max_num_batched_tokens=64, max_waiting_requests=256)
    sequences = [add_sequence(scheduler, "alone", response=100) for _ in range(20)]
    while not scheduler.is_idle:
        scheduler.admit_waiting()
        assert not scheduler.num_waiting or count_slots(scheduler) == {"alone": 8}
        run_step(scheduler)
    assert [sequence.num_preemptions for sequence in sequences] == [0] * 20


def test_waiting_tenants_get_equal_shares() -> None:
    scheduler = Scheduler(12, max_model_len=2048, max_num_batched_tokens=64, max_waiting_requests=256)
    for tenant, sequences in (("a", 40), ("b", 40), ("c", 2)):
        for _ in range(sequences):
            add_sequence(scheduler, tenant, LONG)
        run_step(scheduler)
    assert count_slots(scheduler) == {"a": 5, "b": 5, "c": 2}


def test_slots_of_a_finished_tenant_are_used_by_another() -> None:
    scheduler = Scheduler(8, max_model_len=2048, max_num_batched_tokens=64, max_waiting_requests=256)
    for _ in range(20):
        add_sequence(scheduler, "much", LONG)
    run_step(scheduler)
    little = add_sequence(scheduler, "little")
    count_steps_until_finished(scheduler, little)
    run_step(scheduler)
    assert count_slots(scheduler) == {"much": 8}


def test_kv_cache_memory_is_shared_among_tenants_like_slots() -> None:
    """A few long sequences can occupy all of it."""
    scheduler = Scheduler(
        16, max_model_len=1000, max_num_batched_tokens=64, max_waiting_requests=256, max_kv_positions=4000
    )
    for _ in range(8):
        add_sequence(scheduler, "long", response=990)
    run_step(scheduler)
    assert count_slots(scheduler) == {"long": 4}
    assert count_steps_until_finished(scheduler, add_sequence(scheduler, "little")) <= 5
    assert count_steps_until_finished(scheduler, add_sequence(scheduler, "little", response=400)) <= 401


def test_more_tenants_than_slots_take_turns() -> None:
    scheduler = Scheduler(4, max_model_len=2048, max_num_batched_tokens=64, max_waiting_requests=256)
    sequences = [add_sequence(scheduler, str(number), response=400) for number in range(12)]
    for _ in range(6 * MIN_QUANTUM_TOKENS):
        run_step(scheduler)
    assert min(len(sequence.output_token_ids) for sequence in sequences) >= MIN_QUANTUM_TOKENS
    assert sum(sequence.num_preemptions for sequence in sequences) <= 4 * 6


@given(
    jobs=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 30), st.integers(1, 40), st.integers(0, 9)), max_size=25
    ),
    slots=st.integers(1, 5),
    max_kv_positions=st.integers(70, 200),
)
def test_every_preempted_sequence_finishes(
    jobs: list[tuple[str, int, int, int]], slots: int, max_kv_positions: int
) -> None:
    """Preemption is bounded: each sequence finishes in a bounded number of steps."""
    scheduler = Scheduler(
        slots, max_model_len=70, max_num_batched_tokens=16, max_waiting_requests=100, max_kv_positions=max_kv_positions
    )
    sequences: list[EngineSequence] = []
    jobs, number = jobs[::-1], 0
    while jobs or not scheduler.is_idle:
        while jobs and jobs[-1][3] <= number % 10:
            tenant, text, response, _ = jobs.pop()
            sequences.append(add_sequence(scheduler, tenant, response, text))
        run_step(scheduler)
        assert [sequence.slot for sequence in scheduler.running] == list(range(len(scheduler.running)))
        assert sum(sequence.max_positions for sequence in scheduler.running) <= scheduler.max_kv_positions
        number += 1
        assert number < 3000
    assert all(len(sequence.output_token_ids) == sequence.request.sampling.max_new_tokens for sequence in sequences)
    assert not scheduler._tenant_shares._usage_by_tenant
    assert scheduler._waiting.num_active_tenants == 0


def test_preempted_sequences_do_not_count_against_the_queue_limit() -> None:
    scheduler = Scheduler(8, max_model_len=2048, max_num_batched_tokens=64, max_waiting_requests=4)
    while scheduler.add_request(EngineRequest((5,), SamplingParams(max_new_tokens=LONG), tenant="much")) is not None:
        scheduler.admit_waiting()
    for _ in range(4):
        add_sequence(scheduler, "little", LONG)
        scheduler.admit_waiting()
    assert scheduler.num_waiting > 4
    add_sequence(scheduler, "another")


def test_prefill_of_one_tenant_does_not_delay_another() -> None:
    scheduler = Scheduler(64, max_model_len=4000, max_num_batched_tokens=256, max_waiting_requests=256)
    for _ in range(60):
        add_sequence(scheduler, "much", text=2000)
    run_step(scheduler)
    assert count_steps_until_finished(scheduler, add_sequence(scheduler, "little", response=4)) == 4


@pytest.mark.parametrize(("others", "max_kv_positions"), [(1, 4096), (2, 4096), (10, 16384)])
def test_a_long_sequence_among_many_short_ones_finishes(others: int, max_kv_positions: int) -> None:
    """The sequence alone exceeds its share: repeated preemption would never let it generate."""
    scheduler = Scheduler(
        64, max_model_len=2048, max_num_batched_tokens=256, max_waiting_requests=4096, max_kv_positions=max_kv_positions
    )
    long_row = add_sequence(scheduler, "long", response=300, text=1700)
    for _ in range(1500):
        for tenant in range(others):
            while scheduler._waiting.count_waiting(f"short {tenant}") < 4:
                add_sequence(scheduler, f"short {tenant}", response=100, text=100)
        if long_row in run_step(scheduler):
            break
    assert len(long_row.output_token_ids) == 300
    assert long_row.num_preemptions == 0


@given(st.data())
def test_a_sequence_is_admitted_at_most_once_per_call(data: st.DataObject) -> None:
    scheduler = Scheduler(3, max_model_len=64, max_num_batched_tokens=8, max_waiting_requests=256, max_kv_positions=100)
    for number in range(data.draw(st.integers(1, 60))):
        tenant, text = data.draw(st.sampled_from("ABCD")), data.draw(st.integers(1, 40))
        sampling = SamplingParams(max_new_tokens=data.draw(st.integers(1, 20)))
        scheduler.add_request(EngineRequest(tuple(range(5, 5 + text)), sampling, tenant))
        joined = scheduler.admit_waiting()
        assert len(joined) == len(set(joined)), number
        for chunk in scheduler.schedule_step().chunks:
            scheduler.record_chunk(chunk, 7 if chunk.is_last else None)
        for sequence in [
            sequence
            for sequence in scheduler.running
            if len(sequence.output_token_ids) >= sequence.request.sampling.max_new_tokens
        ]:
            scheduler.remove_sequence(sequence)
