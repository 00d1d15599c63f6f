"""Choosing a label: which labels there are, which is right, and what a row of data must have."""

from __future__ import annotations

import math

import pytest
import torch

from softprompt.data import Example
from softprompt.errors import RowError, TaskError
from softprompt.model import FrozenModel
from softprompt.tasks import ClassificationTask, Row
from softprompt.tasks.classification import ClassificationObjective
from tests.tiny import shared_model


def labelled(*labels: object) -> list[Example]:
    return [Example({"text": f"text {i}", "label": label}, f"a.jsonl:{i}") for i, label in enumerate(labels, start=1)]


def bound(model: FrozenModel, room: int = 128, **settings: object) -> ClassificationObjective:
    return ClassificationTask(**{"labels": ("good", "bad"), **settings}).bind(model, room)


def test_labels_are_found_in_the_data_in_alphabetical_order() -> None:
    assert ClassificationTask().prepared(labelled("good", "bad", "good", "ugly")).labels == ("bad", "good", "ugly")


def test_labels_that_are_given_keep_their_order() -> None:
    task = ClassificationTask(labels=("good", "bad")).prepared(labelled("bad", "good"))
    assert task.labels == ("good", "bad")
    assert [task.index(example) for example in labelled("bad", "good")] == [1, 0]


def test_integer_labels_are_text() -> None:
    task = ClassificationTask().prepared(labelled(1, 0, 1, 10))
    assert task.labels == ("0", "1", "10")
    assert task.index(labelled(10)[0]) == 2


def test_truth_values_are_labels() -> None:
    assert ClassificationTask().prepared(labelled(True, False)).labels == ("false", "true")


def test_labels_may_stand_in_another_field() -> None:
    examples = [Example({"text": "a", "stars": 1}), Example({"text": "b", "stars": 5})]
    assert ClassificationTask(label_field="stars").prepared(examples).labels == ("1", "5")


def test_a_label_that_is_none_of_the_labels_is_named_with_its_line() -> None:
    with pytest.raises(RowError, match="^a.jsonl:3: label 'fine' is none of good, bad$"):
        ClassificationTask(labels=("good", "bad")).prepared(labelled("good", "bad", "fine"))


def test_a_row_without_a_label_is_named() -> None:
    with pytest.raises(RowError, match="^a.jsonl:2: no field 'label'; its fields are text$"):
        ClassificationTask().prepared([*labelled("good"), Example({"text": "b"}, "a.jsonl:2")])


def test_a_label_that_never_occurs_cannot_be_learnt() -> None:
    with pytest.raises(TaskError, match="no example has the label ugly, .* have bad, good"):
        ClassificationTask(labels=("good", "bad", "ugly")).prepared(labelled("good", "bad"))


@pytest.mark.parametrize("labels", [(), ("good",), ("good", "good"), ("good", "bad", "good")])
def test_fewer_than_two_different_labels(labels: tuple[str, ...]) -> None:
    with pytest.raises(TaskError, match="at least two different labels are needed"):
        ClassificationTask(labels=labels).prepared(labelled("good", "good"))


def test_a_word_for_no_label() -> None:
    with pytest.raises(TaskError, match="`verbalizer` has words for 2, which is no label"):
        ClassificationTask(words={"1": "good", "2": "bad"}).prepared(labelled(0, 1))


def test_the_task_in_words_names_what_the_model_would_say() -> None:
    task = ClassificationTask(labels=("0", "1", "2"), words={"0": "bad", "2": "good"})
    text = task.start_text(shared_model("llama"), [], room=0)
    assert text.startswith("Read the text and decide which of these it is: bad, 1 or good.")


@pytest.mark.parametrize(("room", "each"), [(70, 1), (120, 1), (200, 2), (330, 3), (900, 3)])
def test_with_more_room_more_examples_are_shown_and_not_longer_ones(room: int, each: int) -> None:
    """Of each label there are three that fit into 50 tokens; labels take turns, and none is shown twice."""
    model = shared_model("llama")
    texts = [f"{'the film was slow ' * n}{i}" for i, n in enumerate((1, 2, 3), start=1)]
    examples = [Example({"text": text, "label": label}) for label in ("good", "bad") for text in texts]
    shown = ClassificationTask(labels=("bad", "good")).start_text(model, examples, room).split("\n\n")
    assert shown.pop() == ""
    assert [text.rsplit(" ", 1)[1] for text in shown] == ["bad", "good"] * each
    assert len(set(shown)) == 2 * each
    assert len(model.tokenize("\n\n".join(shown))) <= room


def test_what_the_model_would_say_is_read_behind_the_template() -> None:
    model = shared_model("llama")
    objective = bound(model, labels=("0", "1"), words={"0": "bad", "1": "good"})
    row = objective.encode(Example({"text": "a film", "label": 1}))
    assert row.prompt == model.row(model.tokenize("a film\nLabel:"))
    assert row.label == 1
    batch = objective.collate([row], None)
    with torch.no_grad():
        logits = model.network(torch.tensor([row.prompt])).logits[0, -1]
        found = objective.log_probabilities(objective.read(batch, None), batch)[0]
    [bad], [good] = model.tokenize(" bad"), model.tokenize(" good")
    torch.testing.assert_close(found, logits[[bad, good]].log_softmax(dim=0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("template", ["{text}\n标签：", "评论：{text}\n情感："])
def test_chinese_labels_follow_without_a_space(template: str) -> None:
    model = shared_model("llama")
    objective = bound(model, template=template, labels=("好", "差"))
    row = objective.encode_text(Example({"text": "很好看"}))
    batch = objective.collate([row], None)
    good, bad = model.tokenize("好"), model.tokenize("差")
    shared = next(i for i, (g, b) in enumerate(zip(good, bad, strict=True)) if g != b)
    assert batch.ids[0].tolist() == [*row.prompt, *good[:shared]]
    with torch.no_grad():
        logits = model.network(batch.ids).logits[0, -1]
        found = objective.log_probabilities(objective.read(batch, None), batch)[0]
    torch.testing.assert_close(found, logits[[good[shared], bad[shared]]].log_softmax(dim=0), atol=1e-5, rtol=0)


def test_the_loss_is_that_of_the_right_label() -> None:
    objective = bound(shared_model("llama"))
    rows = [objective.encode(Example({"text": "the film was great", "label": label})) for label in ("good", "bad")]
    with torch.no_grad():
        batch = objective.collate(rows, None)
        hidden = objective.read(batch, None)
        losses, probabilities = objective.losses(hidden, batch), objective.log_probabilities(hidden, batch).exp()
    assert losses.tolist() == pytest.approx([-math.log(probabilities[0, 0]), -math.log(probabilities[1, 1])], rel=1e-5)
    assert (-losses).exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert batch.weights.tolist() == [1, 1]


def test_room_is_left_for_the_longest_path() -> None:
    """A window of 30 holds the template, the text, and what of a label must be run."""
    model = shared_model("llama")
    objective = bound(model, room=30, labels=("good fun", "good film", "bad"))
    row = objective.encode_text(Example({"text": "scene " * 60}))
    assert row.cut
    batch = objective.collate([row], None)
    assert batch.ids.shape[1] <= 30
    assert batch.ids.shape[1] >= 28


def test_a_text_that_is_cut_is_marked() -> None:
    objective = bound(shared_model("llama"), room=20)
    assert not objective.encode_text(Example({"text": "a bore"})).cut
    assert objective.encode_text(Example({"text": "a bore " * 20})).cut


def test_metrics_of_log_probabilities() -> None:
    objective = bound(shared_model("llama"))
    outputs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]).log()
    figures = objective.metrics(outputs, [Row([1], [], label) for label in (0, 1, 1)])
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert figures["loss"] == pytest.approx(-(math.log(0.9) + math.log(0.8) + math.log(0.4)) / 3, rel=1e-5)
    assert next(iter(figures)) == "accuracy"


def test_better_is_more_accurate_and_then_less_loss() -> None:
    quality = bound(shared_model("llama")).quality
    assert quality({"accuracy": 0.8, "loss": 9.0}) > quality({"accuracy": 0.7, "loss": 0.1})
    assert quality({"accuracy": 0.8, "loss": 0.1}) > quality({"accuracy": 0.8, "loss": 0.2})
