"""Labels scored by next-token logits: the trie's probabilities equal those of one branch point after another."""

from __future__ import annotations

import math
import sys
from types import FrameType
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softprompt.errors import TaskError
from softprompt.model import FrozenModel, Payload
from softprompt.tasks import ClassificationTask, EncodedExample
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.label_scorers.verbalizer import Verbalizer
from tests.strategies import causal_families, random_prefix
from tests.tiny import shared_model

Words = list[tuple[int, ...]]

# Three tokens only, so that words share prefixes, and some are prefixes of others.
words = st.lists(st.lists(st.integers(3, 5), min_size=1, max_size=4).map(tuple), min_size=2, max_size=6, unique=True)
prompts = st.lists(st.integers(3, 383), min_size=1, max_size=6)


@torch.no_grad()
def probabilities(
    model: FrozenModel, words: Words, rows: list[list[int]], payload: Payload | None = None
) -> list[list[float]]:
    task = ClassificationTask(labels=tuple(map(str, words)))
    objective = ClassificationObjective(model, task, 128, Verbalizer(words, model.eos_token_id))
    batch = objective.collate([EncodedExample(row) for row in rows], payload)
    found: list[list[float]] = (
        objective.compute_log_probs(objective.forward_batch(batch, payload), batch).exp().tolist()
    )
    return found


@torch.no_grad()
def branch_by_branch(model: FrozenModel, words: Words, prompt: list[int]) -> list[float]:
    """Run the network before each token of each word, and normalize over the branches there."""
    ended = [(*w, model.eos_token_id) if any(o[: len(w)] == w and o != w for o in words) else w for w in words]
    found = []
    for word in ended:
        probability = 1.0
        for depth, token in enumerate(word):
            branches = sorted({w[depth] for w in ended if w[:depth] == word[:depth] and len(w) > depth})
            logits = model.network(torch.tensor([[*prompt, *word[:depth]]])).logits[0, -1]
            probability *= float(logits[branches].softmax(dim=0)[branches.index(token)])
        found.append(probability)
    return found


@given(family=causal_families, words=words, prompt=prompts)
def test_trie_probabilities_equal_those_computed_branch_by_branch(family: str, words: Words, prompt: list[int]) -> None:
    model = shared_model(family)
    [found] = probabilities(model, words, [prompt])
    assert found == pytest.approx(branch_by_branch(model, words, prompt), abs=1e-5)


@given(family=causal_families, words=words, rows=st.lists(prompts, min_size=1, max_size=3), seed=st.integers(0, 99))
def test_label_probabilities_sum_to_one(family: str, words: Words, rows: list[list[int]], seed: int) -> None:
    model = shared_model(family)
    for each in probabilities(model, words, rows, random_prefix(model, 3, seed)):
        assert sum(each) == pytest.approx(1, abs=1e-5)
        assert all(0 <= p <= 1 for p in each)


def test_labels_of_one_token_are_scored_by_a_softmax_over_next_token_logits() -> None:
    model, prompt = shared_model("llama"), [7, 8, 9]
    with torch.no_grad():
        logits = model.network(torch.tensor([prompt])).logits[0, -1]
    [found] = probabilities(model, [(40,), (50,), (60,)], [prompt])
    assert found == pytest.approx(logits[[40, 50, 60]].softmax(dim=0).tolist(), abs=1e-6)


def test_labels_of_one_token_append_no_tokens() -> None:
    verbalizer = Verbalizer([(40,), (50,)], terminator_id=1)
    assert verbalizer.appended_paths == ((),)
    assert verbalizer.output_nodes == [(0, 0)]


def test_labels_with_a_common_prefix_are_scored_after_that_prefix() -> None:
    model, prompt = shared_model("llama"), [7, 8, 9]
    with torch.no_grad():
        logits = model.network(torch.tensor([[*prompt, 40]])).logits[0, -1]
    [found] = probabilities(model, [(40, 50), (40, 60, 70)], [prompt])
    assert found == pytest.approx(logits[[50, 60]].softmax(dim=0).tolist(), abs=1e-6)


def test_label_that_is_a_prefix_of_another_is_scored_by_the_eos_token() -> None:
    model, prompt = shared_model("llama"), [7, 8, 9]
    with torch.no_grad():
        logits = model.network(torch.tensor([[*prompt, 40]])).logits[0, -1]
    [found] = probabilities(model, [(40,), (40, 50)], [prompt])
    assert found == pytest.approx(logits[[model.eos_token_id, 50]].softmax(dim=0).tolist(), abs=1e-6)


def test_label_that_is_a_prefix_of_another_is_rejected_if_the_model_has_no_eos() -> None:
    with pytest.raises(
        TaskError, match=r"label 2 is a prefix of another label, and this model has no end-of-text token"
    ):
        Verbalizer([(50,), (40,), (40, 50)], None)
    assert Verbalizer([(50,), (40,)], None).branch_points == Verbalizer([(50,), (40,)], 1).branch_points


def test_tokens_without_alternatives_do_not_lower_the_score_of_a_label() -> None:
    model, prompt = shared_model("llama"), [7, 8, 9]
    [short] = probabilities(model, [(40,), (50,)], [prompt])
    [long] = probabilities(model, [(40, 60, 70, 80, 90), (50,)], [prompt])
    assert long == pytest.approx(short, abs=1e-6)


def test_examples_of_a_batch_are_independent() -> None:
    model, words = shared_model("llama"), [(40,), (40, 50), (60, 70), (60, 80)]
    rows = [[7], [7, 8, 9, 10, 11], [12, 13]]
    together = probabilities(model, words, rows)
    for row, found in zip(rows, together, strict=True):
        assert found == pytest.approx(probabilities(model, words, [row])[0], abs=1e-5)


def test_probabilities_are_in_the_order_of_the_labels() -> None:
    model, words = shared_model("llama"), [(40,), (40, 50), (60, 70)]
    [straight], [turned] = (probabilities(model, order, [[7, 8]]) for order in (words, words[::-1]))
    assert straight == pytest.approx(turned[::-1], abs=1e-6)


@given(words=words)
def test_no_appended_path_is_a_prefix_of_another(words: Words) -> None:
    """Each appended path ends at a branch point."""
    verbalizer = Verbalizer(words, terminator_id=1)
    assert {(p, len(path)) for p, path in enumerate(verbalizer.appended_paths)} <= set(verbalizer.output_nodes)
    for path in verbalizer.appended_paths:
        assert not any(other != path and other[: len(path)] == path for other in verbalizer.appended_paths)


def test_identical_labels_are_rejected() -> None:
    with pytest.raises(TaskError, match="labels 2 and 3 have the same tokens: .*`verbalizer`"):
        Verbalizer([(40,), (50, 60), (50, 60)], terminator_id=1)


def test_label_without_tokens_is_rejected() -> None:
    with pytest.raises(TaskError, match="label 2 has no tokens: .*`verbalizer`"):
        Verbalizer([(40,), ()], terminator_id=1)


def test_single_label_is_rejected() -> None:
    with pytest.raises(TaskError, match="only one label: pass at least two"):
        Verbalizer([(40, 50)], terminator_id=1)


def test_label_that_equals_another_label_with_eos_is_rejected() -> None:
    """A label may contain the terminator, and then equal a terminated label."""
    with pytest.raises(TaskError, match="labels 1 and 2 have the same tokens"):
        Verbalizer([(40,), (40, 1)], terminator_id=1)


def test_probabilities_of_many_labels_equal_those_computed_branch_by_branch() -> None:
    """Labels have three tokens, and more branch points than one product holds."""
    model, prompt = shared_model("llama"), [7, 8, 9]
    words = [(3 + i % 20, 3 + i * 7 % 90, 3 + i % 11) for i in range(260)]
    [found] = probabilities(model, words, [prompt])
    assert found == pytest.approx(branch_by_branch(model, words, prompt), abs=1e-5)


@pytest.mark.parametrize(
    "words_of",
    [
        lambda count: [(i % 50, i // 50) for i in range(count)],
        lambda count: [(*[7] * 9, i) for i in range(count)],
        lambda count: [(i, *[7] * 9) for i in range(count)],
        lambda count: [tuple(map(int, f"{i:08b}")) for i in range(count)],
    ],
    ids=["pairs", "begin alike", "end alike", "deep"],
)
def test_work_of_building_a_verbalizer_is_linear_in_the_number_of_labels(words_of: Any) -> None:
    """Counts executed lines of Python: four times as many labels run four times as many lines."""

    def lines(count: int) -> int:
        found = 0

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal found
            found += event == "line"
            return trace

        sys.settrace(trace)
        try:
            Verbalizer(words_of(count), 1)
        finally:
            sys.settrace(None)
        return found

    assert lines(256) < 4.6 * lines(64)


def test_labels_with_the_same_word_are_rejected() -> None:
    task = ClassificationTask(labels=("1", "2"), words={"1": "good", "2": "good"})
    with pytest.raises(TaskError, match="label '1' .*'good'.* label '2' .*'good'.* have the same tokens"):
        task.build_objective(shared_model("llama"), 128)


@pytest.mark.parametrize("labels", [("good", "good fun"), ("great", "great fun", "a bore"), ("好", "好评", "差评")])
def test_probabilities_of_label_words_equal_those_computed_branch_by_branch(labels: tuple[str, ...]) -> None:
    model = shared_model("llama")
    objective = ClassificationTask(labels=labels).build_objective(model, 128)
    row = EncodedExample(model.prompt_tokenizer.encode_text("the film was great\nLabel:"))
    with torch.no_grad():
        batch = objective.collate([row], None)
        found = objective.compute_log_probs(objective.forward_batch(batch, None), batch).exp()[0].tolist()
    spaced = [label if "好评" in labels else f" {label}" for label in labels]
    expected = branch_by_branch(
        model, [tuple(model.prompt_tokenizer.tokenize(word)) for word in spaced], row.prompt_ids
    )
    assert found == pytest.approx(expected, abs=1e-5)
    assert math.isclose(sum(found), 1, abs_tol=1e-5)
