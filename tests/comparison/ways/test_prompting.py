"""Ways that train nothing, and soft prompts as ways."""

from __future__ import annotations

import pytest
import torch

from softprompt.comparison import Bench, Trial
from softprompt.comparison.local import FittedHere
from softprompt.comparison.ways import WAYS, way_named
from softprompt.data import Examples
from softprompt.prompts import METHODS
from softprompt.tasks import Row
from softprompt.training.watching import Unwatched
from tests.comparison.conftest import Settings


def fitted(bench: Bench, name: str, **more: object) -> FittedHere:
    found = way_named(name).fit(bench, Trial(bench.training, **more), Unwatched())
    assert isinstance(found, FittedHere)
    return found


def test_a_hard_prompt_is_the_template_and_what_evaluate_measures(bench: Bench, tmp_path: object) -> None:
    import softprompt

    found = fitted(bench, "hard")
    assert (found.payload, found.trained_parameters, found.course) == (None, 0, None)
    tuned = softprompt.tune(bench.model, data=bench.settings.data, output=tmp_path / "p", steps=1, virtual_tokens=2,
                            template=bench.task.template)  # fmt: skip
    beside = softprompt.evaluate(bench.model, tuned.prompt, list(bench.test))["hard_prompt"]
    assert found.measured(bench.test).metrics == {name: beside[name] for name in ("accuracy", "macro_f1", "loss")}


@torch.no_grad()
def test_examples_in_the_prompt_are_read_as_if_they_stood_in_the_row(settings: Settings) -> None:
    bench = Bench.of(settings(trials=1))
    found = fitted(bench, "few-shot:2")
    payload = found.payload
    assert payload is not None
    row = found.objective.encode(bench.test[0])
    ids = [i for e in _chosen(bench) for part in [bench.task.demonstration(bench.model, e)] for i in
           (*part.prompt, *part.answer, *part.end)]  # fmt: skip
    assert payload.num_positions == len(ids) + 1  # and BOS in front of them
    assert found.stored_bytes == len((bench.model.tokenizer.decode(ids) + bench.task.template).encode())
    whole = Row([bench.model.bos, *ids, *row.prompt[1:]], [], row.label)
    apart = found.objective.collate([row], payload), found.objective.collate([whole], None)
    behind = found.objective.read(apart[0], payload), found.objective.read(apart[1], None)
    torch.testing.assert_close(*behind, atol=1e-4, rtol=0)


def _chosen(bench: Bench) -> Examples:
    from softprompt.comparison.drawing import drawn

    return drawn(bench.training, 2, 0, bench.task)


def test_the_best_of_several_draws_is_kept(settings: Settings) -> None:
    one, several = (Bench.of(settings(trials=trials)) for trials in (1, 6))
    first, best = fitted(one, "few-shot:2"), fitted(several, "few-shot:2")
    quality = [found.measured(one.validation).metrics["accuracy"] for found in (first, best)]
    assert quality[1] >= quality[0]


def test_every_soft_prompt_that_learns_one_task_is_a_way() -> None:
    assert {name for name in METHODS if not METHODS[name].learns_several} <= set(WAYS)


@pytest.mark.parametrize("name", ["prompt", "prefix:mlp", "p-tuning:lstm", "p-tuning-v2"])
def test_a_soft_prompt_is_trained_as_tune_trains_it(settings: Settings, name: str, tmp_path: object) -> None:
    import softprompt

    bench = Bench.of(settings())
    found = fitted(bench, name, steps=3, rate=0.01, seed=1, options={"virtual-tokens": "3"})
    method, _, encoder = name.partition(":")
    tuned = softprompt.tune(
        bench.model, data=bench.settings.data, validation=bench.settings.validation, output=tmp_path / "p", steps=3,
        method=method, encoder=encoder or None, batch_size=4, virtual_tokens=3, learning_rate=0.01, seed=1,
        template=bench.task.template,
    )  # fmt: skip
    assert tuned.prompt is not None
    torch.testing.assert_close(
        found.payload.tensor, bench.model.compile(tuned.prompt.payload).tensor, atol=1e-6, rtol=0
    )
    assert found.trained_parameters == tuned.prompt.manifest.trained_parameters


def test_served_and_forgotten(bench: Bench) -> None:
    prefix, full = fitted(bench, "prefix", steps=2), fitted(bench, "full", steps=2, rate=0.1)
    bare = fitted(bench, "hard").neutral_loss(bench.neutral)
    for found in (prefix, full):
        for tasks in (1, 50):
            served = found.served(bench.test, tasks)
            assert served is not None
            assert served.latency_seconds > 0
            assert served.rows_per_second > 0
        assert found.neutral_loss(bench.neutral) != bare
    assert (prefix.mixes, prefix.removable, full.mixes, full.removable) == (True, True, False, False)
    assert prefix.stored_bytes < full.stored_bytes
