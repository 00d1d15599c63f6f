"""Examples with a blank answer are left out, with a note, whatever is done with the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from softprompt.data import read_examples
from softprompt.errors import DataError, RowError
from softprompt.tasks import ChatTask, ClassificationTask, GenerationTask, Task, with_answers

WriteJsonl = Callable[[str, Sequence[Any]], Path]


def said(text: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": text, **more}]}


def shared(text: Any) -> dict[str, Any]:
    return {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": text}]}


def input_output(text: Any) -> dict[str, Any]:
    return {"input": "hi", "output": text}


def alpaca(text: Any) -> dict[str, Any]:
    return {"instruction": "Reply", "input": "hi", "output": text}


def references(text: Any) -> dict[str, Any]:
    return {"input": "hi", "references": text}


GENERATION, CHAT = GenerationTask(), ChatTask()
KINDS: list[tuple[Callable[[Any], dict[str, Any]], Task]] = [
    (input_output, GENERATION),
    (alpaca, GenerationTask(template="{prompt}\n")),
    (references, GENERATION),
    (said, CHAT),
    (shared, CHAT),
]


@pytest.mark.parametrize(("row", "task"), KINDS)
@pytest.mark.parametrize("blank", ["", " \n", "\u3000", None])
def test_a_blank_answer_is_left_out_and_it_is_said(
    write_jsonl: WriteJsonl, caplog: pytest.LogCaptureFixture, row: Any, task: Task, blank: Any
) -> None:
    examples = read_examples(write_jsonl("a.jsonl", [row("fine"), row(blank), row("good"), row(blank)]))
    kept = with_answers(task.prepared(examples), examples)
    assert [example.where.rpartition(":")[2] for example in kept] == ["1", "3"]
    assert "2 of 4 rows are left out" in caplog.text
    assert "a.jsonl:2)" in caplog.text
    assert [example.where for example in with_answers(task, list(examples))] == [example.where for example in kept]


@pytest.mark.parametrize(("row", "task"), KINDS)
def test_nothing_is_said_where_every_row_has_an_answer(
    write_jsonl: WriteJsonl, caplog: pytest.LogCaptureFixture, row: Any, task: Task
) -> None:
    examples = read_examples(write_jsonl("a.jsonl", [row("fine"), row("0")]))
    assert with_answers(task, examples) is examples
    assert not caplog.text


@pytest.mark.parametrize(("row", "task"), KINDS)
def test_data_without_any_answer_is_refused(write_jsonl: WriteJsonl, row: Any, task: Task) -> None:
    examples = read_examples(write_jsonl("a.jsonl", [row(" "), row("")]))
    with pytest.raises(DataError, match=r"a\.jsonl: no row has a .*: all are blank"):
        with_answers(task.prepared(examples), examples)


def test_of_references_the_blank_ones_are_none(write_jsonl: WriteJsonl) -> None:
    examples = read_examples(write_jsonl("a.jsonl", [references(["", "fine"]), references([" "]), references([])]))
    [kept] = with_answers(GENERATION, examples)
    assert GENERATION.references(kept) == ["fine"]


def test_a_chat_without_weight_on_any_answer_has_none(write_jsonl: WriteJsonl) -> None:
    examples = read_examples(write_jsonl("a.jsonl", [said("fine", weight=0), said("good", weight=1)]))
    assert [example.where for example in with_answers(CHAT, examples)] == [examples[1].where]
    with pytest.raises(DataError, match="all are blank or have the weight 0"):
        with_answers(CHAT, examples[:1])


def test_a_blank_answer_that_is_asked_for_by_itself_names_its_row(write_jsonl: WriteJsonl) -> None:
    [example] = read_examples(write_jsonl("a.jsonl", [input_output("")]))
    with pytest.raises(RowError, match=r"a\.jsonl:1: its response is blank"):
        GENERATION.references(example)


def test_labels_are_not_looked_at(write_jsonl: WriteJsonl) -> None:
    examples = read_examples(write_jsonl("a.jsonl", [{"text": "a", "label": ""}]))
    assert with_answers(ClassificationTask(), examples) is examples


def test_training_and_evaluation_leave_out_the_same(
    tmp_path: Path, write_jsonl: WriteJsonl, caplog: pytest.LogCaptureFixture
) -> None:
    import softprompt
    from softprompt.saved import SavedPrompt
    from tests.tiny import tiny_model

    rows = [input_output(text) for text in ("good", "", "bad", "fine", "good", "bad")]
    path, model = write_jsonl("a.jsonl", rows), tiny_model("llama")
    softprompt.tune(model, data=path, validation=path, output=tmp_path / "out", steps=1, batch_size=2, virtual_tokens=3)
    assert caplog.text.count("1 of 6 rows are left out") == 2
    prompt = SavedPrompt.read(tmp_path / "out")
    sampling = softprompt.Sampling(max_new_tokens=3)
    figures = softprompt.evaluate(model, prompt, read_examples(path), hard_prompt=False, sampling=sampling)
    assert figures["examples"] == 5
    assert json.dumps(figures)
