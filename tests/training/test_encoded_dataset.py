"""Datasets that encode examples on access equal datasets that are encoded at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from softprompt.data import Example, read_examples
from softprompt.errors import RecordError
from softprompt.tasks import GenerationTask
from softprompt.training.encoded_dataset import EncodedDataset, encode_dataset
from tests.tiny import shared_model

WriteJsonl = Callable[[str, Sequence[Any]], Path]


def test_items_equal_encoded_examples(pairs: Path) -> None:
    objective = GenerationTask().build_objective(shared_model("llama"), 128)
    examples = read_examples(pairs)
    rows = EncodedDataset.from_examples(objective, examples)
    every = [objective.encode_example(example) for example in examples]
    assert len(rows) == len(every)
    assert list(rows) == every
    assert rows[2:7:2] == every[2:7:2]
    assert list(rows.lengths) == [len(row) for row in every]


def test_example_that_does_not_fit_is_rejected_when_the_dataset_is_built(write_jsonl: WriteJsonl) -> None:
    data = write_jsonl("a.jsonl", [{"input": "a", "output": "b"}, {"input": "a", "output": "scene " * 300}])
    objective = GenerationTask().build_objective(shared_model("llama"), 128)
    with pytest.raises(RecordError, match=r"a\.jsonl:2: the response has"):
        encode_dataset(objective, read_examples(data), "training")


def test_truncated_texts_are_counted() -> None:
    objective = GenerationTask().build_objective(shared_model("llama"), 40)
    examples = [Example({"input": "scene " * length, "output": "b"}) for length in (2, 200, 3)]
    assert EncodedDataset.from_examples(objective, examples).num_truncated == 1
