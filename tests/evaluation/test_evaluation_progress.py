"""How far an evaluation is, as it tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from softprompt.data import read_examples
from softprompt.evaluation import Sampling, evaluate
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask, GenerationTask, Task
from tests.strategies import random_embeddings
from tests.tiny import shared_model

WriteJsonl = Callable[[str, Sequence[Any]], Path]
ROWS = [{"text": "film " * (1 + i % 40), "label": ("good", "bad")[i % 2], "output": "tea"} for i in range(160)]
READ, WRITTEN = "examples", "responses"


def prompt_for(task: Task) -> SavedPrompt:
    model = shared_model("llama")
    payload = random_embeddings(model, 3, seed=0)
    return SavedPrompt.make(model, payload, task, method={"name": "prompt"}, trained_parameters=1)


@pytest.mark.parametrize(
    ("task", "format_name", "together", "kinds"),
    [
        (ClassificationTask(labels=("good", "bad"), template="{text} is"), "classification", False, [READ]),
        (ClassificationTask(labels=("good", "bad"), template="{text} is"), "classification", True, [READ]),
        (GenerationTask(template="{text} so"), "fields", False, [READ, WRITTEN]),
    ],
    ids=["one", "together", "writing"],
)
def test_it_tells_how_many_examples_are_done(
    write_jsonl: WriteJsonl, task: Task, format_name: str, together: bool, kinds: list[str]
) -> None:
    told: list[tuple[str, int, int]] = []
    examples = read_examples(write_jsonl("a.jsonl", ROWS), None, format_name)
    prompt = prompt_for(task)
    figures = evaluate(
        shared_model("llama"),
        [prompt, prompt] if together else prompt,
        examples,
        sampling=Sampling(max_new_tokens=2),
        on_progress=lambda *event: told.append(event),
    )
    assert figures == evaluate(
        shared_model("llama"),
        [prompt, prompt] if together else prompt,
        examples,
        sampling=Sampling(max_new_tokens=2),
    )
    whats = [f"measuring the {whose} prompt, {kind}" for whose in ("soft", "hard") for kind in kinds]
    assert list(dict.fromkeys(what for what, _, _ in told)) == whats
    for what in whats:
        counts = [done for each, done, total in told if each == what and total == len(ROWS)]
        assert counts == sorted(set(counts))
        assert counts[-1] == len(ROWS)
    assert len(told) > len(whats)
