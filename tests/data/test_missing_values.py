"""A missing value is neither text nor a label, in every kind of file."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from softprompt.data import read_examples
from softprompt.errors import RecordError
from softprompt.tasks import ClassificationTask
from tests.data.conftest import Write

TASK = ClassificationTask()
LABELS = ["a", "b", "a", None]


def labelled(labels: list[Any]) -> list[dict[str, Any]]:
    return [{"text": f"text {i}", "label": label} for i, label in enumerate(labels)]


def parquet(labels: list[Any]) -> bytes:
    import pyarrow
    from pyarrow import parquet as files

    sink = io.BytesIO()
    files.write_table(pyarrow.Table.from_pylist(labelled(labels)), sink)
    return sink.getvalue()


def jsonl(labels: list[Any]) -> str:
    return "\n".join(map(json.dumps, labelled(labels)))


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("a.jsonl", jsonl(LABELS), "a.jsonl:4"),
        ("a.jsonl", jsonl([1.0, 2.0, 1.0, float("nan")]), "a.jsonl:4"),
        ("a.json", json.dumps(labelled(LABELS)), "a.json, row 4"),
        ("a.parquet", parquet(LABELS), "a.parquet, row 4"),
        ("a.parquet", parquet([1.0, 2.0, 1.0, float("nan")]), "a.parquet, row 4"),
        ("a.parquet", parquet([1, 2, 1, None]), "a.parquet, row 4"),
    ],
)
def test_missing_label_error_names_the_record(write: Write, name: str, content: str | bytes, where: str) -> None:
    examples = read_examples(write(name, content))
    with pytest.raises(RecordError, match=rf"{where}: .*'label'"):
        TASK.prepare(examples)
    with pytest.raises(RecordError, match=where):
        TASK.model_copy(update={"labels": ("a", "b")}).get_label_index(examples[3])


@pytest.mark.usefixtures("cache")
def test_missing_class_index_raises_a_record_error(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    kinds = Features({"text": Value("string"), "label": ClassLabel(names=["a", "b"])})
    table = Dataset.from_list([{"text": "text", "label": label} for label in (0, 1, -1, None)], features=kinds)
    table.save_to_disk(str(tmp_path / "table"))
    examples = read_examples(tmp_path / "table")
    for row in (2, 3):
        with pytest.raises(RecordError, match=rf"row {row + 1}: .*'label'"):
            TASK.model_copy(update={"labels": ("a", "b")}).get_label_index(examples[row])
