"""Progress of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from softprompt.data import read_examples
from softprompt.evaluation import SamplingParams, evaluate
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask, GenerationTask, Task
from tests.strategies import random_embeddings
from tests.tiny import shared_model

WriteJsonl = Callable[[str, Sequence[Any]], Path]
ROWS = [{"text": "film " * (1 + i % 40), "label": ("good", "bad")[i % 2], "output": "tea"} for i in range(160)]
EXAMPLES, RESPONSES = "examples", "responses"


def build_prompt(task: Task) -> SavedPrompt:
    model = shared_model("llama")
    payload = random_embeddings(model, 3, seed=0)
    return SavedPrompt.from_payload(model, payload, task, method={"name": "prompt"}, trained_parameters=1)


@pytest.mark.parametrize(
    ("task", "format_name", "is_ensemble", "stages"),
    [
        (ClassificationTask(labels=("good", "bad"), template="{text} is"), "classification", False, [EXAMPLES]),
        (ClassificationTask(labels=("good", "bad"), template="{text} is"), "classification", True, [EXAMPLES]),
        (GenerationTask(template="{text} so"), "fields", False, [EXAMPLES, RESPONSES]),
    ],
    ids=["one", "together", "writing"],
)
def test_progress_counts_finished_examples(
    write_jsonl: WriteJsonl, task: Task, format_name: str, is_ensemble: bool, stages: list[str]
) -> None:
    events: list[tuple[str, int, int]] = []
    examples = read_examples(write_jsonl("a.jsonl", ROWS), None, format_name)
    prompt = build_prompt(task)
    metrics = evaluate(
        shared_model("llama"),
        [prompt, prompt] if is_ensemble else prompt,
        examples,
        sampling=SamplingParams(max_new_tokens=2),
        on_progress=lambda *event: events.append(event),
    )
    assert metrics == evaluate(
        shared_model("llama"),
        [prompt, prompt] if is_ensemble else prompt,
        examples,
        sampling=SamplingParams(max_new_tokens=2),
    )
    labels = [
        f"evaluating the {kind_of_prompt} prompt, {stage}" for kind_of_prompt in ("soft", "hard") for stage in stages
    ]
    assert list(dict.fromkeys(label for label, _, _ in events)) == labels
    for label in labels:
        counts = [done for name, done, total in events if name == label and total == len(ROWS)]
        assert counts == sorted(set(counts))
        assert counts[-1] == len(ROWS)
    assert len(events) > len(labels)
