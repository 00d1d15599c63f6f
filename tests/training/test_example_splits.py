"""Examples held out for validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from softprompt.training.example_splits import MAX_VALIDATION_EXAMPLES, load_examples, split_train_validation
from softprompt.training.task_builder import build_task
from softprompt.training.tune_settings import TuneSettings

WriteJsonl = Callable[[str, Sequence[Any]], Path]


def test_held_out_split_of_large_data_has_fixed_size(write_jsonl: WriteJsonl) -> None:
    rows = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(MAX_VALIDATION_EXAMPLES * 10 + 50)]
    settings = TuneSettings(data=write_jsonl("a.jsonl", rows), output="p")
    data = load_examples(settings)
    training, held_out = split_train_validation(settings, data, build_task(settings, data["data"]))
    assert len(held_out) == MAX_VALIDATION_EXAMPLES
    assert len(training) + len(held_out) == len(rows)
    texts = {example.get_text("text") for example in training}
    assert not any(example.get_text("text") in texts for example in held_out)
