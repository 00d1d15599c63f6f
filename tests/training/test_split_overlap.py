"""Warnings about validation examples that are training examples."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import softprompt
from tests.tiny import tiny_model

Write = Callable[[str, Sequence[Any]], Path]
TEXTS = [f"text number {i}" for i in range(20)]


def labelled(texts: Sequence[str]) -> list[dict[str, Any]]:
    return [{"text": text, "label": "ab"[i % 2]} for i, text in enumerate(texts)]


@pytest.fixture
def tune_and_get_warnings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Callable[[Path, Path], str]:
    """Function that tunes for one step and returns the warnings."""

    def of_files(data: Path, validation: Path) -> str:
        caplog.clear()
        softprompt.tune(
            tiny_model("llama"), data=data, validation=validation, output=tmp_path / "p", max_steps=1, batch_size=2,
            num_virtual_tokens=2, overwrite=True,
        )  # fmt: skip
        return "\n".join(record.getMessage() for record in caplog.records if record.levelname == "WARNING")

    return of_files


def test_validation_equal_to_data_causes_a_warning(
    write_jsonl: Write, tmp_path: Path, tune_and_get_warnings: Callable[..., str]
) -> None:
    path = write_jsonl("a.jsonl", labelled(TEXTS))
    assert "`validation` holds the same examples as `data`" in tune_and_get_warnings(path, path)
    assert "`validation` holds the same examples as `data`" in tune_and_get_warnings(
        path, write_jsonl("b.jsonl", labelled(TEXTS))
    )
    wrapped = tmp_path / "c.json"
    wrapped.write_text(json.dumps({"data": labelled(TEXTS)}))
    assert "`validation` holds the same examples as `data`" in tune_and_get_warnings(path, wrapped)


def test_same_inputs_in_other_order_or_format_cause_a_warning(
    write_jsonl: Write, tmp_path: Path, tune_and_get_warnings: Callable[..., str]
) -> None:
    path, warning = (
        write_jsonl("a.jsonl", labelled(TEXTS)),
        "20 of the 20 inputs of `validation` are among those of `data`",
    )
    assert warning in tune_and_get_warnings(path, write_jsonl("b.jsonl", labelled(TEXTS)[::-1]))
    with (tmp_path / "c.csv").open("w") as file:
        table = csv.DictWriter(file, ["text", "label"])
        table.writeheader()
        table.writerows(labelled([text.upper() for text in TEXTS]))
    assert warning in tune_and_get_warnings(path, tmp_path / "c.csv")


def test_warning_begins_at_a_tenth_of_shared_inputs(
    write_jsonl: Write, tune_and_get_warnings: Callable[..., str]
) -> None:
    path = write_jsonl("a.jsonl", labelled(TEXTS))
    other_examples = labelled([f"other {i}" for i in range(19)])
    assert "1 of the 10 inputs" in tune_and_get_warnings(
        path, write_jsonl("b.jsonl", [*other_examples[:9], labelled(TEXTS)[0]])
    )
    assert "`validation`" not in tune_and_get_warnings(
        path, write_jsonl("c.jsonl", [*other_examples, labelled(TEXTS)[0]])
    )


def test_disjoint_splits_cause_no_warning(write_jsonl: Write, tune_and_get_warnings: Callable[..., str]) -> None:
    path, other = write_jsonl("a.jsonl", labelled(TEXTS[:10])), write_jsonl("b.jsonl", labelled(TEXTS[10:]))
    assert "`validation`" not in tune_and_get_warnings(path, other)
