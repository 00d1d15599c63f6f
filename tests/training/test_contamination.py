"""A validation file that holds what was learnt from is noted."""

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
def noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Callable[[Path, Path], str]:
    """Tune for a step; gives the notes."""

    def of_files(data: Path, validation: Path) -> str:
        caplog.clear()
        softprompt.tune(
            tiny_model("llama"), data=data, validation=validation, output=tmp_path / "p", steps=1, batch_size=2,
            virtual_tokens=2, overwrite=True,
        )  # fmt: skip
        return "\n".join(record.getMessage() for record in caplog.records if record.levelname == "WARNING")

    return of_files


def test_the_same_file_is_noted(write_jsonl: Write, tmp_path: Path, noted: Callable[..., str]) -> None:
    path = write_jsonl("a.jsonl", labelled(TEXTS))
    assert "`validation` holds the same rows as `data`" in noted(path, path)
    assert "`validation` holds the same rows as `data`" in noted(path, write_jsonl("b.jsonl", labelled(TEXTS)))
    wrapped = tmp_path / "c.json"
    wrapped.write_text(json.dumps({"data": labelled(TEXTS)}))
    assert "`validation` holds the same rows as `data`" in noted(path, wrapped)


def test_the_same_inputs_in_another_order_or_kind_of_file_are_noted(
    write_jsonl: Write, tmp_path: Path, noted: Callable[..., str]
) -> None:
    path, said = (
        write_jsonl("a.jsonl", labelled(TEXTS)),
        "20 of the 20 inputs of `validation` are among those of `data`",
    )
    assert said in noted(path, write_jsonl("b.jsonl", labelled(TEXTS)[::-1]))
    with (tmp_path / "c.csv").open("w") as file:
        table = csv.DictWriter(file, ["text", "label"])
        table.writeheader()
        table.writerows(labelled([text.upper() for text in TEXTS]))
    assert said in noted(path, tmp_path / "c.csv")


def test_a_tenth_of_shared_inputs_is_noted_and_less_is_not(write_jsonl: Write, noted: Callable[..., str]) -> None:
    path = write_jsonl("a.jsonl", labelled(TEXTS))
    others = labelled([f"other {i}" for i in range(19)])
    assert "1 of the 10 inputs" in noted(path, write_jsonl("b.jsonl", [*others[:9], labelled(TEXTS)[0]]))
    assert "`validation`" not in noted(path, write_jsonl("c.jsonl", [*others, labelled(TEXTS)[0]]))


def test_files_apart_are_not_noted(write_jsonl: Write, noted: Callable[..., str]) -> None:
    path, other = write_jsonl("a.jsonl", labelled(TEXTS[:10])), write_jsonl("b.jsonl", labelled(TEXTS[10:]))
    assert "`validation`" not in noted(path, other)
