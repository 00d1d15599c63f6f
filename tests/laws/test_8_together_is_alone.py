"""Law 8: N prompts trained in one batch each equal the same prompt trained by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from softprompt.data import Example
from softprompt.evaluation.batch_inference import collect_outputs
from softprompt.model import FrozenModel
from softprompt.saved import SavedPrompt
from softprompt.training import TuneResult, TuneSettings, tune_from_settings
from softprompt.training import joint_trainer as trained_together
from softprompt.training.concurrent_runs import tune_concurrently
from tests.strategies import METHODS_ON_FAMILIES, tuning
from tests.tiny import ALL_FAMILIES, shared_model, template_for

STEPS = 2


def settings(output: Path, data: Path, **more: Any) -> TuneSettings:
    return TuneSettings.from_dict(
        {
            "data": data,
            "validation": data,
            "output": output,
            "model": "tiny",
            "max_steps": STEPS,
            "batch_size": 3,
            "eval_steps": 2,
            **more,
        }
    )


def answers(model: FrozenModel, prompt: SavedPrompt) -> torch.Tensor:
    """Compute the prompt's outputs for two examples, as its task reads them."""
    payload = prompt.compile_for(model)
    objective = prompt.build_objective(model, payload)
    rows = [
        objective.encode_example(Example({"text": text, "label": "good"})) for text in ("the film was tea", "a bore")
    ]
    return collect_outputs(objective, payload, rows)


def check(model: FrozenModel, runs: dict[str, dict[str, Any]], data: Path, folder: Path) -> None:
    each = {name: settings(folder / "together" / name, data, **more) for name, more in runs.items()}
    for name, found in tune_concurrently(each, model).items():
        assert isinstance(found, TuneResult)
        assert found.prompt is not None
        alone = tune_from_settings(settings(folder / "alone" / name, data, **runs[name]), model)
        assert alone.prompt is not None
        assert (found.steps, found.best.get("step")) == (alone.steps, alone.best.get("step"))
        # Where a gradient is nothing but rounding, Adam makes a step of it all the same: 1e-4 in one family, 1e-6 in
        # the others. A rate that is 2% off makes 2e-3 to 6e-2.
        torch.testing.assert_close(answers(model, found.prompt), answers(model, alone.prompt), atol=1e-3, rtol=0)


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_prompts_of_all_methods_train_jointly_as_alone(family: str, reviews: Path, tmp_path: Path) -> None:
    """Prompts of all lengths with all encoders, in one run."""
    of_family = [(name, encoder) for each, name, encoder in METHODS_ON_FAMILIES if each == family]
    shared = {"template": template_for(family), "learning_rate": 0.01}
    runs = {
        f"{name}-{encoder}": {**tuning(name, 2 + i), **shared, "encoder": encoder, "seed": i}
        for i, (name, encoder) in enumerate(of_family)
    }
    check(shared_model(family), runs, reviews, tmp_path)


def test_each_jointly_trained_prompt_stops_separately(reviews: Path, tmp_path: Path) -> None:
    runs = {
        "short": {"max_steps": 2, "num_virtual_tokens": 3},
        "long": {"max_steps": 6, "num_virtual_tokens": 4, "warmup_ratio": 0.5},
        "patient": {
            "max_steps": 9,
            "early_stopping_patience": 1,
            "eval_steps": 1,
            "num_virtual_tokens": 2,
            "learning_rate": 1e-9,
        },
        "clipped": {"max_grad_norm": 1e-3, "num_virtual_tokens": 3, "gradient_accumulation_steps": 2},
        "top": {"layers": 1, "num_virtual_tokens": 3},
        "other words": {"num_virtual_tokens": 3, "template": "Is {text} good or bad?", "init": "random", "seed": 3},
    }
    check(shared_model("llama"), runs, reviews, tmp_path)


@pytest.mark.parametrize("family", ["mistral", "gemma3"])
def test_prompts_of_several_lengths_train_jointly_as_alone_on_texts_longer_than_the_window(
    family: str, write_jsonl: Callable[[str, Sequence[Any]], Path], tmp_path: Path
) -> None:
    """The longest text and the longest prompt do not fit together, but each micro-batch fits."""
    rows = [{"text": f"the film {n} " + "was so " * 60, "label": ("good", "bad")[n % 2]} for n in range(12)]
    runs = {str(P): {"num_virtual_tokens": P, "batch_size": 2, "max_steps": 2} for P in (2, 40)}
    check(shared_model(family), runs, write_jsonl("long.jsonl", rows), tmp_path)


def test_examples_of_several_prompts_share_a_forward_pass(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the law would hold for a run that trains prompts one after the other."""
    model, seen = shared_model("llama"), []
    hidden = type(model).compute_hidden_states

    def counted(self: FrozenModel, ids: torch.Tensor, *arguments: Any) -> torch.Tensor:
        seen.append(len(ids))
        return hidden(self, ids, *arguments)

    monkeypatch.setattr(type(model), "compute_hidden_states", counted)
    each = {
        str(i): settings(tmp_path / str(i), reviews, seed=i, num_virtual_tokens=3, max_steps=1, validation=None)
        for i in range(4)
    }
    tune_concurrently(each, model)
    assert max(seen) == 4 * 3


@pytest.mark.parametrize("most", [1, 5, 7])
def test_prompts_train_jointly_as_alone_at_any_number_of_sequences_per_forward_pass(
    most: int, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained_together, "MAX_SEQUENCES_CPU", most)
    runs = {str(i): {"seed": i, "num_virtual_tokens": 2 + i, "method": "prompt"} for i in range(3)}
    check(shared_model("gpt2"), runs, reviews, tmp_path)
