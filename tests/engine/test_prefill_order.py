"""Order of prefills: nobody's first token is later than in equal parts, and most are sooner."""

from __future__ import annotations

from collections import defaultdict
from random import Random
from statistics import mean

import pytest

from softprompt.engine.request import EngineRequest
from softprompt.engine.scheduler import Scheduler
from softprompt.sampling import SamplingParams

STEP_TOKENS = 32  # while no sequence decodes: twice the configured number
Arrivals = dict[int, list[tuple[str, int]]]  # by step: the tenant and the length of each prompt


def run_scheduler(arrivals: Arrivals) -> dict[tuple[str, int], int]:
    """Return the step in which each prompt's prefill ends, by its tenant and its number among the tenant's prompts."""
    scheduler = Scheduler(64, max_model_len=3000, max_num_batched_tokens=STEP_TOKENS // 2, max_waiting_requests=256)
    scheduler.max_num_batched_tokens = STEP_TOKENS // 2
    names, counts, ends = {}, defaultdict[str, int](int), dict[tuple[str, int], int]()
    step = 0
    while step <= max(arrivals) or not scheduler.is_idle:
        for tenant, length in arrivals.get(step, ()):
            request = EngineRequest((5,) * length, SamplingParams(max_new_tokens=1), tenant=tenant)
            names[scheduler.add_request(request)] = (tenant, counts[tenant])
            counts[tenant] += 1
        scheduler.admit_waiting()
        for chunk in scheduler.schedule_step().chunks:
            scheduler.record_chunk(chunk, None)
            if not chunk.sequence.num_uncomputed_tokens:
                ends[names[chunk.sequence]] = step
                scheduler.remove_sequence(chunk.sequence)
        step += 1
    return ends


def run_equal_parts(arrivals: Arrivals) -> dict[tuple[str, int], int]:
    """The same if the tenants with prompts had equal parts of each step, and a tenant's prompts came in turn."""
    waiting, counts, ends = defaultdict[str, list[tuple[int, float]]](list), defaultdict[str, int](int), {}
    step = 0
    while step <= max(arrivals) or any(waiting.values()):
        for tenant, length in arrivals.get(step, ()):
            waiting[tenant].append((counts[tenant], float(length)))
            counts[tenant] += 1
        left = float(STEP_TOKENS)
        while left > 1e-9 and (active := [tenant for tenant in waiting if waiting[tenant]]):
            part = min(left / len(active), *(waiting[tenant][0][1] for tenant in active), left)
            for tenant in active:
                number, length = waiting[tenant][0]
                left -= part
                waiting[tenant][0] = (number, length - part)
                if length - part <= 1e-9:
                    waiting[tenant].pop(0)
                    ends[tenant, number] = step
        step += 1
    return ends


@pytest.mark.parametrize("seed", range(40))
def test_no_first_token_is_later_than_in_equal_parts_and_the_mean_is_sooner(seed: int) -> None:
    random = Random(seed)
    arrivals: Arrivals = defaultdict(list)
    for index in range(random.randint(3, 12)):
        arrivals[random.randint(0, 12)].append((f"tenant {index}", random.choice((5, 40, 300))))
    own, equal = run_scheduler(arrivals), run_equal_parts(arrivals)
    assert own.keys() == equal.keys()
    assert all(own[name] <= equal[name] + 2 for name in own)  # parts are whole tokens
    assert mean(own.values()) <= mean(equal.values()) + 0.5


def test_equal_prompts_of_many_tenants_end_one_after_the_other() -> None:
    ends = run_scheduler({0: [(f"tenant {index}", 320) for index in range(16)]})
    assert sorted(ends.values()) == [10 * (index + 1) - 1 for index in range(16)]


def test_a_short_prompt_precedes_a_long_one_of_another_tenant_that_came_first() -> None:
    ends = run_scheduler({0: [("long", 2000)], 2: [("short", 20)]})
    assert ends["short", 0] == 2


def test_a_stream_of_short_prompts_does_not_delay_a_long_one_beyond_its_share() -> None:
    """All other tenants together send as many tokens as a step has, all the time."""
    shorts = {step: [(f"short {step % 3}", STEP_TOKENS)] for step in range(120)}
    shorts[0].append(("long", 640))
    ends = run_scheduler(shorts)
    assert ends["long", 0] <= 4 * 640 // STEP_TOKENS + 2


def test_a_tenant_with_many_prompts_takes_turns_with_a_tenant_that_sends_one_at_a_time() -> None:
    ends = run_scheduler({0: [("many", 320)] * 8, **{20 * step: [("one", 320)] for step in range(1, 8)}})
    for index in range(7):
        assert ends["one", index] <= 20 * (index + 1) + 20
