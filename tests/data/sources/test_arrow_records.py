"""Parquet files and folders of `datasets`: memory-mapped, with labels by their names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from softprompt.data import read_examples
from softprompt.data.sources.arrow_records import read_saved_dataset
from softprompt.errors import DataError
from tests.data.conftest import Write

ROWS = [{"text": f"text {i}", "label": i % 2} for i in range(5)]

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def table() -> Dataset:
    """Five reviews whose labels are class indices with names."""
    features = Features({"text": Value("string"), "label": ClassLabel(names=["坏", "好"])})
    return Dataset.from_list(ROWS, features=features)


def labels(source: Path) -> list[str]:
    return [example.get_text("label") for example in read_examples(source)]


def test_parquet_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    Dataset.from_list(ROWS).to_parquet(path)
    examples = read_examples(path)
    assert [dict(example.fields) for example in examples] == ROWS
    assert examples[3].location == f"{path}, row 4"
    assert examples.records.name == str(path)


def test_class_indices_become_class_names(table: Dataset, tmp_path: Path) -> None:
    table.to_parquet(tmp_path / "a.parquet")
    table.save_to_disk(tmp_path / "folder")
    for source in ("a.parquet", "folder"):
        assert labels(tmp_path / source) == ["坏", "好", "坏", "好", "坏"]


def test_class_index_of_minus_one_becomes_a_missing_label(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["bad", "good"])})
    Dataset.from_list([{"text": "one", "label": -1}], features=features).save_to_disk(tmp_path / "folder")
    assert read_examples(tmp_path / "folder")[0].fields["label"] is None


def test_train_split_of_a_folder_is_read(table: Dataset, tmp_path: Path) -> None:
    DatasetDict(train=table, validation=table.select([1])).save_to_disk(tmp_path / "folder")
    assert len(labels(tmp_path / "folder")) == 5
    assert labels(tmp_path / "folder" / "validation") == ["好"]


def test_folder_without_train_split_is_rejected(table: Dataset, tmp_path: Path) -> None:
    DatasetDict(dev=table, test=table).save_to_disk(tmp_path / "folder")
    with pytest.raises(DataError, match=r"has the splits dev, test: choose one, such as .*folder/dev$"):
        read_examples(tmp_path / "folder")


def test_records_of_several_read_batches_are_in_order(tmp_path: Path) -> None:
    Dataset.from_list([{"text": str(i), "label": "a"} for i in range(2500)]).save_to_disk(tmp_path / "folder")
    examples = read_examples(tmp_path / "folder")
    assert [example.get_text("text") for example in examples] == [str(i) for i in range(2500)]
    assert [example.get_text("text") for example in examples.select([2400, 3, 3])] == ["2400", "3", "3"]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"text,label\none,two\n", b"PAR1" + b"\0" * 200 + b"PAR1"])
def test_invalid_parquet_is_rejected(write: Write, content: bytes) -> None:
    with pytest.raises(DataError, match=r"a\.parquet is not a Parquet file"):
        read_examples(write("a.parquet", content))


def test_corrupt_folder_is_rejected(table: Dataset, tmp_path: Path) -> None:
    table.save_to_disk(tmp_path / "folder")
    [file] = (tmp_path / "folder").glob("*.arrow")
    file.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"folder cannot be read"):
        read_examples(tmp_path / "folder")


def test_empty_parquet_is_rejected(tmp_path: Path) -> None:
    empty = Dataset.from_dict({"text": [], "label": []})
    empty.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet has no examples"):
        read_examples(tmp_path / "a.parquet")
    empty.save_to_disk(tmp_path / "folder")
    with pytest.raises(DataError, match="folder cannot be read"):  # datasets itself cannot read it
        read_examples(tmp_path / "folder")


def test_progress_bars_are_hidden(table: Dataset, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    table.to_parquet(tmp_path / "a.parquet")
    capfd.readouterr()
    read_examples(tmp_path / "a.parquet")
    assert capfd.readouterr() == ("", "")
    assert "datasets" in sys.modules


def test_lists_of_class_indices_become_class_names(tmp_path: Path) -> None:
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=["O", "B-FOOD"]))})
    table = Dataset.from_dict({"tokens": [["good", "tea"], ["it"]], "ner_tags": [[0, 1], [-1]]}, features=features)
    table.save_to_disk(tmp_path / "folder")
    rows = list(read_saved_dataset(tmp_path / "folder").read_records(range(2)))
    assert [row["ner_tags"] for row in rows] == [["O", "B-FOOD"], [None]]
