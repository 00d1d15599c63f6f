"""Labels as people write them, in training data, as settings, and in what is evaluated."""

from __future__ import annotations

import logging

import pytest

from softprompt.data import Example
from softprompt.errors import RowError, TaskError
from softprompt.tasks import ClassificationTask, TaggingTask
from softprompt.tasks.labels import look_alikes
from softprompt.tasks.task import described
from tests.tiny import shared_model


def labelled(*labels: object) -> list[Example]:
    return [Example({"text": f"text {i}", "label": label}, f"a.jsonl:{i}") for i, label in enumerate(labels, start=1)]


@pytest.mark.parametrize("written", ["good ", " good", "good\n", "\u3000good", "good\u00a0"])
def test_white_space_around_a_label_is_no_part_of_it(written: str) -> None:
    task = ClassificationTask().prepared(labelled("good", "bad", written))
    assert task.labels == ("bad", "good")
    objective = task.bind(shared_model("llama"), 100)
    assert [objective.encode(example).label for example in labelled(written, "bad ")] == [1, 0]


def test_white_space_around_labels_that_are_given_is_no_part_of_them() -> None:
    task = ClassificationTask(labels=("good ", " bad"), words={" good": "fine"}).prepared(labelled("bad", "good "))
    assert task.labels == ("good", "bad")
    assert task.words == {"good": "fine"}
    assert described(labels=["good ", "bad"]).labels == ("good", "bad")


def test_white_space_around_a_tag_is_no_part_of_it() -> None:
    example = Example({"tokens": ["Ann", "left"], "tags": ["B-PER ", "O"]}, "a.jsonl:1")
    task = TaggingTask(labels=(" O", "B-PER")).prepared([example])
    assert task.labels == ("O", "B-PER")
    assert task.indices(example) == (1, 0)


@pytest.mark.parametrize("blank", ["", " ", "\u3000"])
def test_a_blank_label_is_none_and_its_row_is_named(blank: str) -> None:
    with pytest.raises(RowError, match="^a.jsonl:3: no label: its field 'label' is blank$"):
        ClassificationTask().prepared(labelled("good", "bad", blank))
    tags = Example({"tokens": ["Ann", "left"], "tags": ["O", blank]}, "a.jsonl:1")
    with pytest.raises(RowError, match="^a.jsonl:1: the tag of word 2 is blank"):
        TaggingTask().prepared([tags])


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
def test_labels_that_look_alike_are_noted_with_their_counts(
    alike: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("softprompt").propagate = True
    task = ClassificationTask().prepared(labelled(*alike, alike[0], "other"))
    assert set(task.labels) == {*alike, "other"}
    notes = {record.getMessage() for record in caplog.records if "look alike" in record.getMessage()}
    assert len(notes) == 1
    assert f"{alike[0]!r} (2 examples) and {alike[1]!r} (1 example) look alike" in notes.pop()


def test_labels_that_differ_are_not_alike() -> None:
    assert look_alikes(["good", "goods", "1", "10", "1.5", "v1.0.0", "B-PER", "I-PER"]) == []


def test_a_label_that_is_none_of_those_given_is_told_which_it_looks_like() -> None:
    with pytest.raises(
        RowError, match=r"^a.jsonl:3: label 'Positive' is none of negative, positive \(it looks like 'positive'"
    ):
        ClassificationTask(labels=("negative", "positive")).prepared(labelled("negative", "positive", "Positive"))


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_labels_with_the_same_word_are_named_with_it(family: str) -> None:
    template = "{text} so [MASK]" if family == "bert" else "{text} so"
    task = ClassificationTask(template=template, labels=("a", "b", "c"), words={"b": "good", "c": "good"})
    one, other = (rf"the label '{label}' \(the model says 'good'\)" for label in "bc")
    with pytest.raises(TaskError, match=f"{one} and {other} have the same tokens"):
        task.bind(shared_model(family), 60)


def test_a_label_that_the_tokenizer_has_nothing_for_is_named() -> None:
    task = ClassificationTask(template="{text} so:[MASK]", labels=("a", "b"), words={"b": ""})
    with pytest.raises(TaskError, match=r"the label 'b' \(the model says ''\) has no tokens"):
        task.bind(shared_model("bert"), 60)


def test_several_words_for_a_label_are_taken_as_they_stand_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("softprompt").propagate = True
    words = {"good": "great|lovely", "bad": "awful"}
    task = ClassificationTask(words=words).prepared(labelled("good", "bad"))
    assert task.words == words
    [note] = [record.getMessage() for record in caplog.records]
    assert "for the label 'good' exactly 'great|lovely'" in note
    assert "several to choose from are not supported" in note


@pytest.mark.parametrize(("labels", "verbalizer"), [(["good", "\udce9"], {}), (["good", "bad"], {"good": "\udce9"})])
def test_labels_and_words_that_are_no_unicode(labels: list[str], verbalizer: dict[str, str]) -> None:
    with pytest.raises(TaskError, match=r"'\\xe9' has the byte 0xe9 at character 1"):
        described(labels=labels, verbalizer=verbalizer)


def test_a_label_that_was_cut_at_its_comma_is_named_beside_the_whole_one() -> None:
    with pytest.raises(
        TaskError, match=r'no example has the label Food, drinks.* have "Food, drinks", Staff\. .*quotes'
    ):
        ClassificationTask(labels=("Food", "drinks", "Staff")).prepared(labelled("Food, drinks", "Staff"))
