"""Labels that look alike, in training data, settings and evaluated data."""

from __future__ import annotations

import logging

import pytest

from softprompt.data import Example
from softprompt.errors import RecordError, TaskError
from softprompt.tasks import ClassificationTask, TokenClassificationTask
from softprompt.tasks.label_scorers.label_similarity import group_similar_labels
from softprompt.tasks.task import infer_task
from tests.tiny import shared_model


def labelled(*labels: object) -> list[Example]:
    return [Example({"text": f"text {i}", "label": label}, f"a.jsonl:{i}") for i, label in enumerate(labels, start=1)]


@pytest.mark.parametrize("written", ["good ", " good", "good\n", "\u3000good", "good\u00a0"])
def test_white_space_around_labels_of_examples_is_stripped(written: str) -> None:
    task = ClassificationTask().prepare(labelled("good", "bad", written))
    assert task.labels == ("bad", "good")
    objective = task.build_objective(shared_model("llama"), 100)
    assert [objective.encode_example(example).label_index for example in labelled(written, "bad ")] == [1, 0]


def test_white_space_around_given_labels_is_stripped() -> None:
    task = ClassificationTask(labels=("good ", " bad"), words={" good": "fine"}).prepare(labelled("bad", "good "))
    assert task.labels == ("good", "bad")
    assert task.words == {"good": "fine"}
    assert infer_task(labels=["good ", "bad"]).labels == ("good", "bad")


def test_white_space_around_tags_is_stripped() -> None:
    example = Example({"tokens": ["Ann", "left"], "tags": ["B-PER ", "O"]}, "a.jsonl:1")
    task = TokenClassificationTask(labels=(" O", "B-PER")).prepare([example])
    assert task.labels == ("O", "B-PER")
    assert task.get_tag_indices(example) == (1, 0)


@pytest.mark.parametrize("blank", ["", " ", "\u3000"])
def test_blank_label_is_rejected(blank: str) -> None:
    with pytest.raises(RecordError, match="^a.jsonl:3: no label: the field 'label' is blank$"):
        ClassificationTask().prepare(labelled("good", "bad", blank))
    tags = Example({"tokens": ["Ann", "left"], "tags": ["O", blank]}, "a.jsonl:1")
    with pytest.raises(RecordError, match="^a.jsonl:1: the tag of word 2 is blank"):
        TokenClassificationTask().prepare([tags])


@pytest.mark.parametrize(
    "alike",
    [
        ("positive", "Positive"),
        ("très", "tre\u0300s"),
        ("ＯＫ", "OK"),
        ("no answer", "no  answer"),
        ("好\u200b", "好"),
        ("1", "1.0"),
    ],
)
def test_similar_labels_are_logged_with_counts(alike: tuple[str, str], caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("softprompt").propagate = True
    task = ClassificationTask().prepare(labelled(*alike, alike[0], "other"))
    assert set(task.labels) == {*alike, "other"}
    notes = {record.getMessage() for record in caplog.records if "look alike" in record.getMessage()}
    assert len(notes) == 1
    assert f"{alike[0]!r} (2 examples) and {alike[1]!r} (1 example) look alike" in notes.pop()


def test_different_labels_are_not_grouped_as_similar() -> None:
    assert group_similar_labels(["good", "goods", "1", "10", "1.5", "v1.0.0", "B-PER", "I-PER"]) == []


def test_unknown_label_error_names_a_similar_label() -> None:
    with pytest.raises(
        RecordError, match=r"^a.jsonl:3: label 'Positive' is not one of negative, positive \(did you mean 'positive'"
    ):
        ClassificationTask(labels=("negative", "positive")).prepare(labelled("negative", "positive", "Positive"))


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_labels_with_the_same_word_are_rejected(family: str) -> None:
    template = "{text} so [MASK]" if family == "bert" else "{text} so"
    task = ClassificationTask(template=template, labels=("a", "b", "c"), words={"b": "good", "c": "good"})
    one, other = (rf"label '{label}' \(word 'good'\)" for label in "bc")
    with pytest.raises(TaskError, match=f"{one} and {other} have the same tokens"):
        task.build_objective(shared_model(family), 60)


def test_label_without_tokens_is_rejected() -> None:
    task = ClassificationTask(template="{text} so:[MASK]", labels=("a", "b"), words={"b": ""})
    with pytest.raises(TaskError, match=r"label 'b' \(word ''\) has no tokens"):
        task.build_objective(shared_model("bert"), 60)


def test_alternative_words_are_used_literally_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("softprompt").propagate = True
    words = {"good": "great|lovely", "bad": "awful"}
    task = ClassificationTask(words=words).prepare(labelled("good", "bad"))
    assert task.words == words
    [note] = [record.getMessage() for record in caplog.records]
    assert "for the label 'good' is exactly 'great|lovely'" in note
    assert "alternatives are not supported" in note


@pytest.mark.parametrize(("labels", "verbalizer"), [(["good", "\udce9"], {}), (["good", "bad"], {"good": "\udce9"})])
def test_invalid_unicode_labels_are_rejected(labels: list[str], verbalizer: dict[str, str]) -> None:
    with pytest.raises(TaskError, match=r"'\\xe9' has the byte 0xe9 at character 1"):
        infer_task(labels=labels, verbalizer=verbalizer)


def test_error_for_a_label_split_at_a_comma_suggests_quotes() -> None:
    with pytest.raises(
        TaskError,
        match=r'no training example has the label Food, drinks; labels found: "Food, drinks", Staff\. .*quote',
    ):
        ClassificationTask(labels=("Food", "drinks", "Staff")).prepare(labelled("Food, drinks", "Staff"))
