"""The planned runs of a method."""

from __future__ import annotations

from softprompt.comparison.experiment.compare_settings import LR_MULTIPLIERS
from softprompt.comparison.methods.method_registry import get_method
from softprompt.comparison.runs.run_plan import count_trainings, plan_runs
from tests.comparison.conftest import Settings


def purposes(settings: Settings, name: str, **changes: object) -> list[tuple[str, int, int]]:
    plan = plan_runs(settings(**changes), name, get_method(name))
    return [(spec.purpose, spec.number, spec.seed) for spec in plan]


def test_the_plan_has_a_run_for_each_trial_seed_train_size_and_sweep_value(settings: Settings) -> None:
    assert purposes(settings, "hard", train_sizes=(4, 8)) == [("seed", 0, 0)]
    assert purposes(settings, "few-shot:2", seeds=3) == [("seed", 0, 0), ("seed", 0, 1), ("seed", 0, 2)]
    learnt = [("trial", 0, 0), ("trial", 1, 0), ("seed", 0, 0), ("seed", 0, 1)]
    assert purposes(settings, "full") == purposes(settings, "prefix") == learnt
    assert purposes(settings, "lora", train_sizes=(4,))[4:] == [("size", 4, 0), ("size", 4, 1)]
    swept = {"sweep": {"init": ("text", "random")}}
    assert purposes(settings, "lora", **swept) == learnt
    assert purposes(settings, "prefix", **swept)[4:] == [("sweep", 0, 0), ("sweep", 0, 1)] * 2


def test_every_method_tries_equally_many_different_learning_rates(settings: Settings) -> None:
    assert len(set(LR_MULTIPLIERS)) == len(LR_MULTIPLIERS) == 9
    plan = plan_runs(settings(trials=9), "prefix", get_method("prefix"))
    assert len({spec.name for spec in plan}) == len(plan)
    assert count_trainings(plan) == 10
