"""Chunks of a step, without a model. Most of the plan is tested through the scheduler."""

from __future__ import annotations

from collections import Counter

from softprompt.engine.request import EngineRequest
from softprompt.engine.scheduler import Scheduler
from softprompt.sampling import SamplingParams


def build_scheduler(num_sequences: dict[str, int], text: int = 1) -> Scheduler:
    """Build a scheduler with running sequences, where a token takes a tenth of the fixed cost of a step."""
    scheduler = Scheduler(64, max_model_len=3000, max_num_batched_tokens=256, max_waiting_requests=256)
    for tenant, count in num_sequences.items():
        for _ in range(count):
            scheduler.add_request(EngineRequest((5,) * text, SamplingParams(max_new_tokens=500), tenant=tenant))
    scheduler.admit_waiting()
    (
        scheduler.cost_model.base_seconds,
        scheduler.cost_model.prefill_token_seconds,
        scheduler.cost_model.decode_token_seconds,
    ) = (
        10.0,
        1.0,
        1.0,
    )
    return scheduler


def run_step(scheduler: Scheduler) -> Counter[str]:
    """Run a step; return the number of tokens of each tenant."""
    chunks = scheduler.schedule_step().chunks
    for chunk in chunks:
        scheduler.record_chunk(chunk, 7 if chunk.is_last else None)
    return Counter(chunk.sequence.request.tenant for chunk in chunks for _ in range(chunk.num_tokens))


def test_a_single_sequence_is_in_every_step_while_many_others_take_turns() -> None:
    scheduler = build_scheduler({"much": 60, "little": 1})
    busy_sequences = [sequence for sequence in scheduler.running if sequence.request.tenant == "much"]
    sizes = []
    for _ in range(60):
        tokens = run_step(scheduler)
        assert tokens["little"] == 1
        sizes.append(sum(tokens.values()))
    assert max(sizes[1:]) <= 10  # takes as long as 1.5 steps of the single sequence
    output_lengths = [len(sequence.output_token_ids) for sequence in busy_sequences]
    assert min(output_lengths) >= 1
    assert max(output_lengths) - min(output_lengths) <= 2


def test_a_short_sequence_does_not_wait_for_the_long_ones_of_another_tenant() -> None:
    """The long ones read many positions at each token, so that fewer of them are in a step."""
    sizes = []
    for position_seconds in (0.0, 0.005):
        scheduler = build_scheduler({"much": 8}, text=250)
        while not all(sequence.is_decoding for sequence in scheduler.running):
            run_step(scheduler)
        scheduler.add_request(EngineRequest((5,), SamplingParams(max_new_tokens=9), tenant="little"))
        scheduler.admit_waiting()
        run_step(scheduler)
        scheduler.cost_model.position_seconds = position_seconds
        tokens = run_step(scheduler)
        assert tokens["little"] == 1
        sizes.append(tokens["much"])
    assert sizes[1] < sizes[0]


def test_tenants_with_equal_demand_have_equal_parts_of_a_step() -> None:
    scheduler = build_scheduler({"one": 30, "other": 30})
    num_tokens = sum((run_step(scheduler) for _ in range(20)), Counter())
    assert abs(num_tokens["one"] - num_tokens["other"]) <= 20


def test_another_tenants_long_prompt_is_prefilled_in_small_chunks_during_decoding() -> None:
    scheduler = build_scheduler({"little": 1})
    run_step(scheduler)
    scheduler.add_request(EngineRequest((5,) * 2000, SamplingParams(max_new_tokens=1), tenant="much"))
    scheduler.admit_waiting()
    chunks = scheduler.schedule_step().chunks
    assert [chunk.sequence.request.tenant for chunk in chunks] == ["little", "much"]
    assert sum(chunk.num_tokens for chunk in chunks) < 20
    scheduler.remove_sequence(chunks[0].sequence)
    assert scheduler.schedule_step().chunks[0].num_tokens == 512


def test_blocked_sequences_are_not_scheduled() -> None:
    scheduler = build_scheduler({"one": 2})
    assert {chunk.sequence for chunk in scheduler.schedule_step(blocked=[scheduler.running[0]]).chunks} == {
        scheduler.running[1]
    }


def test_decode_chunks_precede_prefill_chunks() -> None:
    scheduler = build_scheduler({"one": 3, "other": 1})
    run_step(scheduler)
    scheduler.add_request(EngineRequest((5,) * 40, SamplingParams(max_new_tokens=1), tenant="one"))
    scheduler.admit_waiting()
    plan = scheduler.schedule_step()
    assert all(chunk.sequence.is_decoding and chunk.num_tokens == 1 for chunk in plan.decode)
    assert [chunk.sequence.slot for chunk in plan.decode] == sorted(chunk.sequence.slot for chunk in plan.decode)
    assert not any(chunk.sequence.is_decoding for chunk in plan.prefill)
    assert plan.chunks == [*plan.decode, *plan.prefill]
    assert plan.count_tokens() == (sum(chunk.num_tokens for chunk in plan.prefill), len(plan.decode))
    seconds = plan.estimate_tenant_seconds(scheduler.cost_model)
    assert set(seconds) == {chunk.sequence.tenant for chunk in plan.chunks}
    assert sum(seconds.values()) == sum(plan.count_tokens())  # a second for each token
