"""Examples with a blank answer are dropped and counted in the log."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from softprompt.data import read_examples
from softprompt.errors import DataError, RecordError
from softprompt.tasks import ChatTask, ClassificationTask, GenerationTask, Task, filter_answered

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
def test_blank_answers_are_skipped_with_a_warning(
    write_jsonl: WriteJsonl, caplog: pytest.LogCaptureFixture, row: Any, task: Task, blank: Any
) -> None:
    examples = read_examples(write_jsonl("a.jsonl", [row("fine"), row(blank), row("good"), row(blank)]))
    kept = filter_answered(task.prepare(examples), examples)
    assert [example.location.rpartition(":")[2] for example in kept] == ["1", "3"]
    assert "skipping 2 of 4 records" in caplog.text
    assert "a.jsonl:2)" in caplog.text
    assert [example.location for example in filter_answered(task, list(examples))] == [
        example.location for example in kept
    ]


@pytest.mark.parametrize(("row", "task"), KINDS)
def test_complete_data_logs_nothing(
    write_jsonl: WriteJsonl, caplog: pytest.LogCaptureFixture, row: Any, task: Task
) -> None:
    examples = read_examples(write_jsonl("a.jsonl", [row("fine"), row("0")]))
    assert filter_answered(task, examples) is examples
    assert not caplog.text


@pytest.mark.parametrize(("row", "task"), KINDS)
def test_data_without_answers_is_rejected(write_jsonl: WriteJsonl, row: Any, task: Task) -> None:
    examples = read_examples(write_jsonl("a.jsonl", [row(" "), row("")]))
    with pytest.raises(DataError, match=r"a\.jsonl: no record has a .*; all are blank"):
        filter_answered(task.prepare(examples), examples)


def test_blank_references_are_ignored(write_jsonl: WriteJsonl) -> None:
    examples = read_examples(write_jsonl("a.jsonl", [references(["", "fine"]), references([" "]), references([])]))
    [kept] = filter_answered(GENERATION, examples)
    assert GENERATION.get_references(kept) == ["fine"]


def test_chat_whose_answers_all_have_weight_zero_is_skipped(write_jsonl: WriteJsonl) -> None:
    examples = read_examples(write_jsonl("a.jsonl", [said("fine", weight=0), said("good", weight=1)]))
    assert [example.location for example in filter_answered(CHAT, examples)] == [examples[1].location]
    with pytest.raises(DataError, match="all are blank or have the weight 0"):
        filter_answered(CHAT, examples[:1])


def test_get_references_of_a_blank_response_names_the_record_in_its_error(write_jsonl: WriteJsonl) -> None:
    [example] = read_examples(write_jsonl("a.jsonl", [input_output("")]))
    with pytest.raises(RecordError, match=r"a\.jsonl:1: the response is blank"):
        GENERATION.get_references(example)


def test_classification_examples_with_blank_labels_are_not_filtered(write_jsonl: WriteJsonl) -> None:
    examples = read_examples(write_jsonl("a.jsonl", [{"text": "a", "label": ""}]))
    assert filter_answered(ClassificationTask(), examples) is examples


def test_training_and_evaluation_skip_the_same_examples(
    tmp_path: Path, write_jsonl: WriteJsonl, caplog: pytest.LogCaptureFixture
) -> None:
    import softprompt
    from softprompt.saved import SavedPrompt
    from tests.tiny import tiny_model

    rows = [input_output(text) for text in ("good", "", "bad", "fine", "good", "bad")]
    path, model = write_jsonl("a.jsonl", rows), tiny_model("llama")
    softprompt.tune(
        model, data=path, validation=path, output=tmp_path / "out", max_steps=1, batch_size=2, num_virtual_tokens=3
    )
    assert caplog.text.count("skipping 1 of 6 records") == 2
    prompt = SavedPrompt.from_folder(tmp_path / "out")
    sampling = softprompt.SamplingParams(max_new_tokens=3)
    figures = softprompt.evaluate(model, prompt, read_examples(path), hard_prompt=False, sampling=sampling)
    assert figures["examples"] == 5
    assert json.dumps(figures)
