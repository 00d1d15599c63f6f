"""The start of a training, by rows, by the length of a text and by runs; its evaluations; a look at data."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.growth.workload import Workload

WORDS = ("the", "film", "was", "a", "gorgeous", "moving", "story", "of", "two", "hours", "its", "cast", "scene")
ROWS = (1_000, 10_000, 100_000)


def write_rows(count: int, words: int | None = None) -> Path:
    """A file of labelled texts of 8 to 40 words, or of so many."""
    drawn = random.Random(0)
    path = Path(tempfile.mkdtemp()) / "rows.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for i in range(count):
            text = " ".join(drawn.choices(WORDS, k=words or drawn.randint(8, 40)))
            file.write(json.dumps({"text": text, "label": ("bad", "good")[i % 2]}) + "\n")
    return path


def make_settings(data: Path, **more: Any) -> Mapping[str, Any]:
    given = {"model": "smollm2-135m", "data": data, "output": data.parent / "prompt", "template": "Review: {text}\nIs:"}
    return {**given, **more}


def start_tuning(data: Path, **more: Any) -> Callable[[], object]:
    """A run made ready to train, on a model that is loaded already."""
    from softprompt.model import load_model
    from softprompt.training.settings import TuneSettings
    from softprompt.training.tuning import Ready

    model = load_model("smollm2-135m", device="cpu")
    settings = TuneSettings.of(make_settings(data, **more))
    Ready.of(settings, model)  # what is done once a model, whatever the data
    return lambda: Ready.of(settings, model)


def start_by_rows(count: int) -> Callable[[], object]:
    return start_tuning(write_rows(count))


def start_by_length(characters: int) -> Callable[[], object]:
    return start_tuning(write_rows(8, words=characters // 5), validation=write_rows(4))


def start_by_validation(count: int) -> Callable[[], object]:
    return start_tuning(write_rows(1_000), validation=write_rows(count))


def start_sweep(runs: int) -> Callable[[], object]:
    """Runs of different rates and seeds on 10,000 rows, made ready together."""
    from softprompt.model import load_model
    from softprompt.training.many import ready_together
    from softprompt.training.settings import TuneSettings

    data, validation = write_rows(10_000), write_rows(1_000)
    model = load_model("smollm2-135m", device="cpu")
    given = [make_settings(data, validation=validation, seed=i, output=data.parent / str(i)) for i in range(runs)]
    settings = {str(i): TuneSettings.of(each) for i, each in enumerate(given)}
    return lambda: ready_together(settings, model)


def inspect_data(count: int) -> Callable[[], object]:
    from softprompt.data import read_examples
    from softprompt.model import load_model
    from softprompt.tasks import ClassificationTask
    from softprompt.training.inspection import inspect_split
    from softprompt.training.preparation import bare

    path, model = write_rows(count), load_model("smollm2-135m", device="cpu")

    def inspect() -> object:
        examples = read_examples(path)
        task = ClassificationTask(template="Review: {text}\nIs:").prepared(examples)
        return inspect_split(bare(task, model), examples, lambda each, *_: each)

    return inspect


WORKLOADS = (
    Workload("start of tune", ROWS, start_by_rows, "rows"),
    Workload("start of tune with long texts", (1_000, 10_000, 100_000, 1_000_000), start_by_length, "characters"),
    Workload("start of tune with a validation file", ROWS, start_by_validation, "validation rows"),
    Workload("start of a sweep", (2, 8, 32), start_sweep, "runs"),
    Workload("inspect data", ROWS, inspect_data, "rows"),
)
