"""Growth of the start of training with records, text length and runs; of evaluations; of `data inspect`."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.growth.workload import ScalingWorkload

VOCABULARY = ("the", "film", "was", "a", "gorgeous", "moving", "story", "of", "two", "hours", "its", "cast", "scene")
RECORD_COUNTS = (1_000, 10_000, 100_000)


def write_records(count: int, num_words: int | None = None) -> Path:
    """Write a file of labeled texts, of 8 to 40 words or of the given number."""
    drawn = random.Random(0)
    path = Path(tempfile.mkdtemp()) / "rows.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for i in range(count):
            text = " ".join(drawn.choices(VOCABULARY, k=num_words or drawn.randint(8, 40)))
            file.write(json.dumps({"text": text, "label": ("bad", "good")[i % 2]}) + "\n")
    return path


def make_settings(data: Path, **overrides: Any) -> Mapping[str, Any]:
    given = {"model": "smollm2-135m", "data": data, "output": data.parent / "prompt", "template": "Review: {text}\nIs:"}
    return {**given, **overrides}


def prepare_tuning(data: Path, **overrides: Any) -> Callable[[], object]:
    """Prepare the start of a run on a loaded model."""
    from softprompt.model import load_model
    from softprompt.training.prepared_run import PreparedRun
    from softprompt.training.tune_settings import TuneSettings

    model = load_model("smollm2-135m", device="cpu")
    settings = TuneSettings.from_dict(make_settings(data, **overrides))
    PreparedRun.from_settings(settings, model)  # warm-up: work that is done once per model
    return lambda: PreparedRun.from_settings(settings, model)


def prepare_tuning_by_rows(count: int) -> Callable[[], object]:
    return prepare_tuning(write_records(count))


def prepare_tuning_by_length(characters: int) -> Callable[[], object]:
    return prepare_tuning(write_records(8, num_words=characters // 5), validation=write_records(4))


def prepare_tuning_by_validation(count: int) -> Callable[[], object]:
    return prepare_tuning(write_records(1_000), validation=write_records(count))


def prepare_sweep(num_runs: int) -> Callable[[], object]:
    """Prepare the start of runs with different learning rates and seeds on 10,000 records."""
    from softprompt.model import load_model
    from softprompt.training.concurrent_runs import prepare_runs
    from softprompt.training.tune_settings import TuneSettings

    data, validation = write_records(10_000), write_records(1_000)
    model = load_model("smollm2-135m", device="cpu")
    given = [make_settings(data, validation=validation, seed=i, output=data.parent / str(i)) for i in range(num_runs)]
    settings = {str(i): TuneSettings.from_dict(each) for i, each in enumerate(given)}
    return lambda: prepare_runs(settings, model)


def prepare_inspection(count: int) -> Callable[[], object]:
    from softprompt.data import read_examples
    from softprompt.model import load_model
    from softprompt.tasks import ClassificationTask
    from softprompt.tasks.dataset_report import inspect_split
    from softprompt.training.task_builder import bind_without_prompt

    path, model = write_records(count), load_model("smollm2-135m", device="cpu")

    def inspect_examples() -> object:
        examples = read_examples(path)
        task = ClassificationTask(template="Review: {text}\nIs:").prepare(examples)
        return inspect_split(bind_without_prompt(task, model), examples, lambda each, *_: each)

    return inspect_examples


WORKLOADS = (
    ScalingWorkload("start of tune", RECORD_COUNTS, prepare_tuning_by_rows, "rows"),
    ScalingWorkload(
        "start of tune with long texts", (1_000, 10_000, 100_000, 1_000_000), prepare_tuning_by_length, "characters"
    ),
    ScalingWorkload(
        "start of tune with a validation file", RECORD_COUNTS, prepare_tuning_by_validation, "validation rows"
    ),
    ScalingWorkload("start of a sweep", (2, 8, 32), prepare_sweep, "runs"),
    ScalingWorkload("inspect data", RECORD_COUNTS, prepare_inspection, "rows"),
)
