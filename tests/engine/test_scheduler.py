"""Scheduling decisions, without a model."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.engine.request import EngineRequest
from softprompt.engine.scheduler import Scheduler, SlotMove
from softprompt.engine.sequence import EngineSequence
from softprompt.engine.step_plan import ScheduledChunk
from softprompt.errors import SettingError
from softprompt.fair_queue import FairQueue
from softprompt.sampling import SamplingParams


def request(tenant: str = "", text: int = 3, response: int = 2, **options: float) -> EngineRequest:
    return EngineRequest(tuple(range(5, 5 + text)), SamplingParams(max_new_tokens=response), tenant=tenant, **options)


def admit_and_schedule(scheduler: Scheduler) -> list[ScheduledChunk]:
    """Admit waiting sequences and schedule the next step."""
    scheduler.admit_waiting()
    return scheduler.schedule_step().chunks


def run_to_end(scheduler: Scheduler) -> list[EngineSequence]:
    """Run until all sequences have finished, sampling token 7; return them in the order in which they finished."""
    ended = []
    while not scheduler.is_idle:
        chunks = admit_and_schedule(scheduler)
        is_prefill_only = not any(chunk.sequence.is_decoding for chunk in chunks)
        assert sum(chunk.num_tokens for chunk in chunks) <= scheduler.max_num_batched_tokens * (
            2 if is_prefill_only else 1
        )
        assert [sequence.slot for sequence in scheduler.running] == list(range(len(scheduler.running)))
        for chunk in chunks:
            scheduler.record_chunk(chunk, 7 if chunk.is_last else None)
        for chunk in chunks:
            if (
                chunk.sequence.output_token_ids
                and len(chunk.sequence.output_token_ids) == chunk.sequence.request.sampling.max_new_tokens
            ):
                ended.append(chunk.sequence)
                scheduler.remove_sequence(chunk.sequence)
    return ended


@given(
    jobs=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 20), st.integers(1, 6)), max_size=20),
    slots=st.integers(1, 5),
    tokens=st.integers(1, 12),
)
def test_every_request_is_computed_and_finished(jobs: list[tuple[str, int, int]], slots: int, tokens: int) -> None:
    scheduler = Scheduler(slots, max_model_len=40, max_num_batched_tokens=tokens, max_waiting_requests=100)
    sequences = [scheduler.add_request(request(*job)) for job in jobs]
    ended = run_to_end(scheduler)
    assert {id(sequence) for sequence in ended} == {id(sequence) for sequence in sequences}
    for sequence, (_, text, response) in zip(sequences, jobs, strict=True):
        assert sequence is not None
        assert sequence.token_ids == [*range(5, 5 + text), *[7] * response]
        assert sequence.num_computed_tokens == len(sequence.token_ids) - 1  # the last token is never computed


def test_a_long_prompt_does_not_stall_decoding() -> None:
    scheduler = Scheduler(max_num_seqs=2, max_model_len=2000, max_num_batched_tokens=10, max_waiting_requests=10)
    short = scheduler.add_request(request(response=5))
    assert short is not None
    scheduler.record_chunk(admit_and_schedule(scheduler)[0], 7)
    scheduler.add_request(request(text=1000))
    for _ in range(3):
        chunks = admit_and_schedule(scheduler)
        assert chunks[0].sequence is short
        assert [chunk.num_tokens for chunk in chunks] == [1, 9]
        for chunk in chunks:
            scheduler.record_chunk(chunk, 7 if chunk.is_last else None)


def test_a_tenant_with_few_requests_is_served_first() -> None:
    scheduler = Scheduler(max_num_seqs=1, max_model_len=40, max_num_batched_tokens=10, max_waiting_requests=100)
    for _ in range(10):
        scheduler.add_request(request("much"))
    first_chunk = admit_and_schedule(scheduler)[0]
    scheduler.add_request(request("little"))
    scheduler.record_chunk(first_chunk, 7)
    ended = run_to_end(scheduler)
    assert [sequence.request.tenant for sequence in ended[:3]] == ["much", "little", "much"]


def test_an_idle_tenant_gains_no_advantage() -> None:
    scheduler = Scheduler(max_num_seqs=1, max_model_len=40, max_num_batched_tokens=10, max_waiting_requests=100)
    for _ in range(5):
        scheduler.add_request(request("here"))
    run_to_end(scheduler)
    for tenant in ("here", "back"):
        for _ in range(4):
            scheduler.add_request(request(tenant))
    tenants = [sequence.request.tenant for sequence in run_to_end(scheduler)]
    assert set(tenants[:3]) == {"here", "back"}


def test_too_long_and_too_many_requests_are_rejected() -> None:
    scheduler = Scheduler(max_num_seqs=1, max_model_len=10, max_num_batched_tokens=10, max_waiting_requests=1)
    with pytest.raises(SettingError, match="8 virtual and 3 text tokens with a response of 2 tokens"):
        scheduler.add_request(request(), prefix_length=8)
    assert scheduler.add_request(request()) is not None
    assert scheduler.add_request(request()) is None


def test_a_flooding_tenant_leaves_queue_capacity_for_others() -> None:
    scheduler = Scheduler(max_num_seqs=1, max_model_len=40, max_num_batched_tokens=10, max_waiting_requests=8)
    flood = [scheduler.add_request(request("a")) is not None for _ in range(20)]
    assert sum(flood) == 4
    assert sum(scheduler.add_request(request("b")) is not None for _ in range(20)) == 2
    assert scheduler.add_request(request("c")) is not None
    assert len(run_to_end(scheduler)) == 7


def test_a_removed_sequence_leaves_the_scheduler_at_once() -> None:
    scheduler = Scheduler(max_num_seqs=1, max_model_len=40, max_num_batched_tokens=10, max_waiting_requests=10)
    first, second = scheduler.add_request(request("a")), scheduler.add_request(request("b"))
    assert first is not None
    assert second is not None
    admit_and_schedule(scheduler)
    assert scheduler.remove_sequence(second) is None
    assert scheduler.num_waiting == 0
    assert scheduler.remove_sequence(first) is None
    assert scheduler.is_idle


def test_the_last_sequence_takes_the_slot_of_a_removed_one() -> None:
    scheduler = Scheduler(max_num_seqs=3, max_model_len=40, max_num_batched_tokens=30, max_waiting_requests=10)
    sequences = [scheduler.add_request(request()) for _ in range(3)]
    admit_and_schedule(scheduler)
    assert sequences[0] is not None
    move = scheduler.remove_sequence(sequences[0])
    assert sequences[2] is not None
    assert move == SlotMove(sequences[2], source=2, target=0)
    assert sequences[2].slot == 0


def test_expired_sequences_are_found() -> None:
    scheduler = Scheduler(max_num_seqs=1, max_model_len=40, max_num_batched_tokens=10, max_waiting_requests=10)
    sequence = scheduler.add_request(request(deadline=5.0))
    assert sequence is not None
    assert list(scheduler.find_expired(4.9)) == []
    assert list(scheduler.find_expired(5.0)) == [sequence]


def test_the_scheduler_does_not_import_torch() -> None:
    code = (
        "import sys, types\n"
        "package = types.ModuleType('softprompt.engine'); package.__path__ = [sys.argv[1]]\n"
        "whole = types.ModuleType('softprompt'); whole.__path__ = [sys.argv[2]]\n"
        "sys.modules |= {'softprompt': whole, 'softprompt.engine': package}\n"  # their exports would import torch
        "import softprompt.engine.scheduler\n"
        "assert 'torch' not in sys.modules"
    )
    import softprompt.engine

    folders = [next(iter(each.__path__)) for each in (softprompt.engine, softprompt)]
    subprocess.run([sys.executable, "-c", code, *folders], check=True)


def test_a_long_prompt_does_not_block_the_prompts_after_it() -> None:
    """A short one precedes it, and a long one follows."""
    scheduler = Scheduler(max_num_seqs=3, max_model_len=2000, max_num_batched_tokens=10, max_waiting_requests=10)
    for text in (1000, 6, 1000):
        scheduler.add_request(request(text=text))
    assert [chunk.num_tokens for chunk in admit_and_schedule(scheduler)] == [6, 14]


def test_prefill_budget_doubles_while_no_sequence_decodes() -> None:
    scheduler = Scheduler(max_num_seqs=2, max_model_len=2000, max_num_batched_tokens=10, max_waiting_requests=10)
    scheduler.add_request(request(text=2, response=9))
    (first,) = admit_and_schedule(scheduler)
    scheduler.record_chunk(first, 7)
    scheduler.add_request(request(text=1000))
    decode_chunk, prefill_chunk = admit_and_schedule(scheduler)
    assert (decode_chunk.num_tokens, prefill_chunk.num_tokens) == (1, 9)
    scheduler.remove_sequence(decode_chunk.sequence)
    assert [chunk.num_tokens for chunk in admit_and_schedule(scheduler)] == [20]


def test_a_sequence_waits_for_memory_and_is_not_overtaken() -> None:
    scheduler = Scheduler(
        max_num_seqs=5, max_model_len=40, max_num_batched_tokens=50, max_waiting_requests=10, max_kv_positions=30
    )
    running, long, short = (scheduler.add_request(request(text=text)) for text in (10, 20, 1))
    admit_and_schedule(scheduler)
    assert scheduler.running == [running]
    assert running is not None
    scheduler.remove_sequence(running)
    admit_and_schedule(scheduler)
    assert scheduler.running == [long, short]
    with pytest.raises(SettingError, match="longer than the 30 positions of a sequence"):
        scheduler.add_request(request(text=30))


def test_the_state_of_finished_tenants_is_removed() -> None:
    scheduler = Scheduler(max_num_seqs=2, max_model_len=40, max_num_batched_tokens=50, max_waiting_requests=100)
    for tenant in range(50):
        scheduler.add_request(request(f"t{tenant}"))
    run_to_end(scheduler)
    assert not scheduler._waiting.num_tracked_tenants


def run_with_arrivals(scheduler: Scheduler, jobs: list[tuple[int, int, int]]) -> list[str]:
    """Let requests arrive while others run; return the tenants in the order in which their requests finished."""
    order, jobs = [], jobs[::-1]
    while jobs or not scheduler.is_idle:
        for _ in range(min(3, len(jobs))):
            tenant, text, response = jobs.pop()
            scheduler.add_request(request(str(tenant), text, response))
        for chunk in admit_and_schedule(scheduler):
            scheduler.record_chunk(chunk, 7 if chunk.is_last else None)
        for sequence in [
            sequence
            for sequence in scheduler.running
            if len(sequence.output_token_ids) == sequence.request.sampling.max_new_tokens
        ]:
            order.append(sequence.request.tenant)
            scheduler.remove_sequence(sequence)
    return order


@given(jobs=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9), st.integers(1, 4)), min_size=80, max_size=200))
def test_evicting_inactive_tenants_does_not_change_the_order(jobs: list[tuple[int, int, int]]) -> None:
    small_scheduler, large_scheduler = (
        Scheduler(max_num_seqs=3, max_model_len=40, max_num_batched_tokens=10, max_waiting_requests=10**6)
        for _ in range(2)
    )
    small_scheduler._waiting = FairQueue(10**6, max_inactive=15)
    assert run_with_arrivals(small_scheduler, jobs) == run_with_arrivals(large_scheduler, jobs)


def test_state_of_past_tenants_is_bounded() -> None:
    """The engine is never idle, since one sequence runs all the time."""
    scheduler = Scheduler(max_num_seqs=4, max_model_len=10**6, max_num_batched_tokens=64, max_waiting_requests=100)
    scheduler.add_request(request("long", response=10**6 - 3))
    for number in range(20_000):
        scheduler.add_request(request(str(number), response=1))
        for chunk in admit_and_schedule(scheduler):
            scheduler.record_chunk(chunk, 7 if chunk.is_last else None)
        for sequence in [
            sequence
            for sequence in scheduler.running
            if sequence.request.tenant != "long" and sequence.output_token_ids
        ]:
            scheduler.remove_sequence(sequence)
    assert [sequence.request.tenant for sequence in scheduler.running] == ["long"]
    assert scheduler._waiting.num_tracked_tenants < 5000
    assert (len(scheduler._tenant_shares._usage_by_tenant), scheduler._waiting.num_active_tenants) == (1, 1)
    assert not scheduler._waiting


def test_state_of_cancelled_tenants_is_bounded() -> None:
    scheduler = Scheduler(max_num_seqs=1, max_model_len=40, max_num_batched_tokens=10, max_waiting_requests=100)
    scheduler.add_request(request("long", response=30))
    admit_and_schedule(scheduler)
    for number in range(10_000):
        sequence = scheduler.add_request(request(str(number)))
        assert sequence is not None
        scheduler.remove_sequence(sequence)
    assert scheduler._waiting.num_tracked_tenants < 5000
