"""Classification: the labels, the right label of an example, and the required fields of a record."""

from __future__ import annotations

import math

import pytest
import torch

from softprompt.data import Example
from softprompt.errors import RecordError, TaskError
from softprompt.model import FrozenModel
from softprompt.tasks import ClassificationTask, EncodedExample, LabelTarget
from softprompt.tasks.classification_task import ClassificationObjective
from tests.tiny import shared_model


def labelled(*labels: object) -> list[Example]:
    return [Example({"text": f"text {i}", "label": label}, f"a.jsonl:{i}") for i, label in enumerate(labels, start=1)]


def bound(model: FrozenModel, room: int = 128, **settings: object) -> ClassificationObjective:
    return ClassificationTask(**{"labels": ("good", "bad"), **settings}).build_objective(model, room)


def test_labels_are_found_in_the_data_in_alphabetical_order() -> None:
    assert ClassificationTask().prepare(labelled("good", "bad", "good", "ugly")).labels == ("bad", "good", "ugly")


def test_labels_that_are_given_keep_their_order() -> None:
    task = ClassificationTask(labels=("good", "bad")).prepare(labelled("bad", "good"))
    assert task.labels == ("good", "bad")
    assert [task.get_label_index(example) for example in labelled("bad", "good")] == [1, 0]


def test_integer_labels_become_text() -> None:
    task = ClassificationTask().prepare(labelled(1, 0, 1, 10))
    assert task.labels == ("0", "1", "10")
    assert task.get_label_index(labelled(10)[0]) == 2


def test_boolean_labels_become_text() -> None:
    assert ClassificationTask().prepare(labelled(True, False)).labels == ("false", "true")


def test_label_field_is_configurable() -> None:
    examples = [Example({"text": "a", "stars": 1}), Example({"text": "b", "stars": 5})]
    assert ClassificationTask(label_field="stars").prepare(examples).labels == ("1", "5")


def test_unknown_label_error_names_the_record() -> None:
    with pytest.raises(RecordError, match="^a.jsonl:3: label 'fine' is not one of good, bad$"):
        ClassificationTask(labels=("good", "bad")).prepare(labelled("good", "bad", "fine"))


def test_record_without_label_is_rejected() -> None:
    with pytest.raises(RecordError, match="^a.jsonl:2: no field 'label'; its fields are text$"):
        ClassificationTask().prepare([*labelled("good"), Example({"text": "b"}, "a.jsonl:2")])


def test_label_without_examples_is_rejected() -> None:
    with pytest.raises(TaskError, match="no training example has the label ugly; labels found: bad, good"):
        ClassificationTask(labels=("good", "bad", "ugly")).prepare(labelled("good", "bad"))


@pytest.mark.parametrize("labels", [(), ("good",), ("good", "good"), ("good", "bad", "good")])
def test_fewer_than_two_labels_are_rejected(labels: tuple[str, ...]) -> None:
    with pytest.raises(TaskError, match="at least two different labels are required"):
        ClassificationTask(labels=labels).prepare(labelled("good", "good"))


def test_word_for_unknown_label_is_rejected() -> None:
    with pytest.raises(TaskError, match="`verbalizer` has words for unknown labels: 2"):
        ClassificationTask(words={"1": "good", "2": "bad"}).prepare(labelled(0, 1))


def test_init_text_names_the_label_words() -> None:
    task = ClassificationTask(labels=("0", "1", "2"), words={"0": "bad", "2": "good"})
    text = task.build_init_text(shared_model("llama"), [], max_length=0)
    assert text.startswith("Read the text and decide which of these it is: bad, 1 or good.")


@pytest.mark.parametrize(("room", "each"), [(70, 1), (120, 1), (200, 2), (330, 3), (900, 3)])
def test_more_space_adds_examples_to_the_init_text(room: int, each: int) -> None:
    """Three examples of each label fit into 50 tokens; labels take turns, and no example is repeated."""
    model = shared_model("llama")
    texts = [f"{'the film was slow ' * n}{i}" for i, n in enumerate((1, 2, 3), start=1)]
    examples = [Example({"text": text, "label": label}) for label in ("good", "bad") for text in texts]
    shown = ClassificationTask(labels=("bad", "good")).build_init_text(model, examples, room).split("\n\n")
    assert shown.pop() == ""
    assert [text.rsplit(" ", 1)[1] for text in shown] == ["bad", "good"] * each
    assert len(set(shown)) == 2 * each
    assert len(model.prompt_tokenizer.tokenize("\n\n".join(shown))) <= room


def test_label_words_are_tokenized_after_the_template() -> None:
    model = shared_model("llama")
    objective = bound(model, labels=("0", "1"), words={"0": "bad", "1": "good"})
    row = objective.encode_example(Example({"text": "a film", "label": 1}))
    assert row.prompt_ids == model.prompt_tokenizer.encode_text("a film\nLabel:")
    assert row.label_index == 1
    batch = objective.collate([row], None)
    with torch.no_grad():
        logits = model.network(torch.tensor([row.prompt_ids])).logits[0, -1]
        found = objective.compute_log_probs(objective.forward_batch(batch, None), batch)[0]
    [bad], [good] = model.prompt_tokenizer.tokenize(" bad"), model.prompt_tokenizer.tokenize(" good")
    torch.testing.assert_close(found, logits[[bad, good]].log_softmax(dim=0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("template", ["{text}\n标签：", "评论：{text}\n情感："])
def test_chinese_labels_have_no_leading_space(template: str) -> None:
    model = shared_model("llama")
    objective = bound(model, template=template, labels=("好", "差"))
    row = objective.encode_unlabeled(Example({"text": "很好看"}))
    batch = objective.collate([row], None)
    good, bad = model.prompt_tokenizer.tokenize("好"), model.prompt_tokenizer.tokenize("差")
    shared = next(i for i, (g, b) in enumerate(zip(good, bad, strict=True)) if g != b)
    assert batch.input_ids[0].tolist() == [*row.prompt_ids, *good[:shared]]
    with torch.no_grad():
        logits = model.network(batch.input_ids).logits[0, -1]
        found = objective.compute_log_probs(objective.forward_batch(batch, None), batch)[0]
    torch.testing.assert_close(found, logits[[good[shared], bad[shared]]].log_softmax(dim=0), atol=1e-5, rtol=0)


def test_the_loss_is_the_negative_log_probability_of_the_right_label() -> None:
    objective = bound(shared_model("llama"))
    rows = [
        objective.encode_example(Example({"text": "the film was great", "label": label})) for label in ("good", "bad")
    ]
    with torch.no_grad():
        batch = objective.collate(rows, None)
        hidden = objective.forward_batch(batch, None)
        losses, probabilities = (
            objective.compute_losses(hidden, batch),
            objective.compute_log_probs(hidden, batch).exp(),
        )
    assert losses.tolist() == pytest.approx([-math.log(probabilities[0, 0]), -math.log(probabilities[1, 1])], rel=1e-5)
    assert (-losses).exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert batch.example_weights.tolist() == [1, 1]


def test_prompt_leaves_space_for_the_longest_label_path() -> None:
    """A window of 30 tokens holds the template, the text, and the longest path of a label."""
    model = shared_model("llama")
    objective = bound(model, room=30, labels=("good fun", "good film", "bad"))
    row = objective.encode_unlabeled(Example({"text": "scene " * 60}))
    assert row.is_truncated
    batch = objective.collate([row], None)
    assert batch.input_ids.shape[1] <= 30
    assert batch.input_ids.shape[1] >= 28


def test_truncated_text_is_flagged() -> None:
    objective = bound(shared_model("llama"), room=20)
    assert not objective.encode_unlabeled(Example({"text": "a bore"})).is_truncated
    assert objective.encode_unlabeled(Example({"text": "a bore " * 20})).is_truncated


def test_accuracy_macro_f1_and_loss_equal_hand_computed_values() -> None:
    objective = bound(shared_model("llama"))
    outputs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]).log()
    figures = objective.compute_metrics(outputs, [EncodedExample([1], LabelTarget(label)) for label in (0, 1, 1)])
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert figures["loss"] == pytest.approx(-(math.log(0.9) + math.log(0.8) + math.log(0.4)) / 3, rel=1e-5)
    assert next(iter(figures)) == "accuracy"


def test_selection_prefers_accuracy_then_lower_loss() -> None:
    quality = bound(shared_model("llama")).selection_key
    assert quality({"accuracy": 0.8, "loss": 9.0}) > quality({"accuracy": 0.7, "loss": 0.1})
    assert quality({"accuracy": 0.8, "loss": 0.1}) > quality({"accuracy": 0.8, "loss": 0.2})
