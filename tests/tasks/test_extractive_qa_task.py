"""Extractive question answering: spans, targets and metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import softprompt
from softprompt.data import Example, read_examples
from softprompt.errors import RecordError, TaskError
from softprompt.evaluation.batch_inference import collect_outputs
from softprompt.model import FrozenModel, Payload, Placement
from softprompt.saved import SavedPrompt
from softprompt.tasks import ExtractiveQATask, LinearHead, SpanTarget
from softprompt.tasks.encoded_example import get_alignment, get_supervision
from softprompt.tasks.extractive_qa_task import ExtractiveQAObjective, find_best_spans
from softprompt.tasks.metrics.squad_metrics import exact_match_score, normalize_answer, token_f1_score
from tests.strategies import METHODS_FOR_ANY_TASK, random_embeddings, random_prefix
from tests.tiny import MASKED_FAMILIES, shared_model, tiny_model

WriteJsonl = Callable[[str, Sequence[Any]], Path]
READING_FAMILIES = ("llama", "gpt2", *MASKED_FAMILIES)
TASK = ExtractiveQATask()
ROWS = [
    {"question": "which food?", "context": f"the film serves {food} and its plot was {word}", "answer": food}
    for food in ("rice", "fish tea", "tea")
    for word in ("great fun", "awful")
] * 2


def bound(model: FrozenModel, room: int = 60, template: str = TASK.template) -> ExtractiveQAObjective:
    head = LinearHead(2, model.shape.hidden_size)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        head.weight.copy_(torch.randn(head.weight.shape, generator=generator))
    return ExtractiveQATask(template=template).build_objective(model, room, head.requires_grad_(False))


def asked(context: str, answer: str, question: str = "which?") -> Example:
    return Example({"question": question, "context": context, "answer": answer}, "a.jsonl:1")


EXAMPLES = (
    asked("tea", "tea"),
    asked("the food it serves was rice, fish and a lovely tea", "rice, fish", "which food?"),
    asked("这部电影很好看 fun", "电影", "谁?"),
)


@pytest.mark.parametrize("family", READING_FAMILIES)
def test_answer_tokens_are_located(family: str) -> None:
    model = shared_model(family)
    objective = bound(model)
    for example in EXAMPLES:
        row = objective.encode_example(example)
        alignment, token_span = get_alignment(row), get_supervision(row, SpanTarget).token_span
        assert token_span is not None
        start, end = alignment.get_char_span(*token_span)
        assert alignment.text[start:end] == example.fields["answer"]
        first, last = (alignment.token_positions[token] for token in token_span)
        assert model.tokenizer.decode(row.prompt_ids[first : last + 1]).strip() == example.fields["answer"]
        assert row.prompt_ids == model.prompt_tokenizer.encode_text(
            f"{example.fields['question']}\n{example.fields['context']}"
        )


@pytest.mark.parametrize("family", READING_FAMILIES)
@pytest.mark.parametrize("payload", ["prefix", *Placement])
def test_outputs_of_a_batch_equal_those_of_single_examples(family: str, payload: str) -> None:
    model = shared_model(family)
    if payload != "prefix" and (
        payload not in model.placements or (payload == "after-bos" and model.prompt_tokenizer.bos_token_id is None)
    ):
        return
    made = random_prefix(model, 3, 0) if payload == "prefix" else random_embeddings(model, 3, 0, Placement(payload))
    with torch.no_grad():
        compiled: Payload = model.compile_payload(made)
    template = "[P1-2] {question} [P3] {context}" if payload == "in-template" else TASK.template
    objective = bound(model, 60, template)
    rows = [objective.encode_example(example) for example in EXAMPLES]
    together = collect_outputs(objective, compiled, rows)
    for output, row in zip(together, rows, strict=True):
        torch.testing.assert_close(output, collect_outputs(objective, compiled, [row])[0], atol=1e-4, rtol=0)


def test_the_loss_is_the_mean_of_the_cross_entropies_of_start_and_end() -> None:
    model = shared_model("bert")
    objective = bound(model)
    row = objective.encode_example(EXAMPLES[1])
    batch = objective.collate([objective.encode_example(EXAMPLES[0]), row], None)
    with torch.no_grad():
        found = objective.compute_losses(objective.forward_batch(batch, None), batch)
        states = model.family.get_backbone(model.network)(torch.tensor([row.prompt_ids])).last_hidden_state[0]
    scores = objective.head.compute_logits(states[list(get_alignment(row).token_positions)]).log_softmax(dim=0)
    token_span = get_supervision(row, SpanTarget).token_span
    assert token_span is not None
    expected = -(scores[token_span[0], 0] + scores[token_span[1], 1]) / 2
    torch.testing.assert_close(found[1], expected, atol=1e-4, rtol=0)


def test_the_best_span_ends_no_earlier_than_it_begins_and_is_no_longer_than_allowed() -> None:
    generator = torch.Generator().manual_seed(0)
    found = torch.randn(4, 9, 2, generator=generator)
    found[1, 5:] = -torch.inf  # padding of a shorter example
    first, last, best = find_best_spans(found, max_answer_tokens=3)
    for row in range(4):
        spans = {(i, j): float(found[row, i, 0] + found[row, j, 1]) for i in range(9) for j in range(i, min(i + 3, 9))}
        assert (int(first[row]), int(last[row])) == max(spans, key=spans.__getitem__)
        assert float(best[row]) == pytest.approx(max(spans.values()), abs=1e-6)


def test_example_whose_answer_is_truncated_does_not_count_in_the_loss() -> None:
    objective = bound(shared_model("bert"), room=16)
    long = "the film was great " * 9
    near, far = (
        objective.encode_example(asked("tea " + long, "tea")),
        objective.encode_example(asked(long + "tea", "tea")),
    )
    assert (near.is_truncated, near.is_target_truncated, len(near)) == (True, False, 16)
    assert (far.is_truncated, far.is_target_truncated, len(far)) == (True, True, 16)
    assert get_supervision(far, SpanTarget).token_span is None
    batch = objective.collate([near, far], None)
    with torch.no_grad():
        losses = objective.compute_losses(objective.forward_batch(batch, None), batch)
    assert losses[0] > 0
    assert losses[1] == 0
    found = objective.compute_metrics(collect_outputs(objective, None, [near, far]), [near, far])
    assert found["loss"] == pytest.approx(float(losses[0]), abs=1e-5)


def test_question_is_never_truncated() -> None:
    with pytest.raises(RecordError, match="no space left for {context}"):
        bound(shared_model("bert"), room=8).encode_example(
            asked("tea", "tea", "the film was great fun and a bore " * 3)
        )


def test_examples_with_truncated_answers_are_not_trained_on(
    tmp_path: Path, write_jsonl: WriteJsonl, caplog: pytest.LogCaptureFixture
) -> None:
    far = {"question": "which?", "context": "the film was great fun " * 20 + "tea", "answer": "tea"}
    settings = {"output": tmp_path / "p", "max_steps": 2, "batch_size": 2, "num_virtual_tokens": 2}
    softprompt.tune(
        tiny_model("bert"), data=write_jsonl("a.jsonl", [far, *ROWS]),
        validation=write_jsonl("b.jsonl", [far, ROWS[0]]), **settings,
    )  # fmt: skip
    assert "1 of 13 training examples are dropped" in caplog.text
    with pytest.raises(TaskError, match="no example has its answer within"):
        softprompt.tune(tiny_model("bert"), data=write_jsonl("c.jsonl", [far] * 3), **settings, overwrite=True)


@pytest.mark.parametrize(
    ("answer", "right", "exact", "f1"),
    [
        ("The Eiffel Tower!", ["eiffel tower"], 1, 1),
        ("in Paris", ["Paris", "the city of Paris"], 0, 2 / 3),
        ("Paris in France", ["Paris, France"], 0, 2 * (1 * 2 / 3) / (1 + 2 / 3)),
        ("London", ["Paris"], 0, 0),
        ("the", ["a"], 1, 1),
        ("", ["Paris"], 0, 0),
        ("好看", ["好看"], 1, 1),
    ],
)
def test_metrics_equal_hand_computed_values(answer: str, right: list[str], exact: float, f1: float) -> None:
    assert exact_match_score(answer, right) == exact
    assert token_f1_score(answer, right) == pytest.approx(f1)


def test_words_are_compared_without_case_articles_and_punctuation() -> None:
    assert normalize_answer("  The  U.S.A., an  Answer-to a question ") == "usa answerto question"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"context": "tea", "answer": "rice"}, "'rice' is not in the context$"),
        ({"context": "tea", "answers": {"text": ["ea"], "answer_start": [0]}}, "at character 0"),
        ({"context": "tea", "answers": {"text": [], "answer_start": []}}, "SQuAD 2.0"),
        ({"context": "tea", "answer": ""}, "SQuAD 2.0"),
        ({"context": "tea", "answers": ["tea"]}, "must be a text or an object"),
        ({"context": "tea", "answers": {"text": ["tea"], "answer_start": ["0"]}}, "invalid answer"),
        ({"context": 3, "answer": "tea"}, "context must be text, found int"),
        ({"answer": "tea"}, "no field 'context'"),
        ({"context": "tea"}, "no field 'answers' or 'answer'"),
        ({"context": "", "answers": {"text": ["tea"], "answer_start": [0]}}, "is not in the context"),
    ],
)
def test_invalid_records_are_rejected(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=f"^a.jsonl:7: .*{message}"):
        bound(shared_model("bert")).encode_example(Example({"question": "which?", **fields}, "a.jsonl:7"))


def test_answer_start_selects_the_occurrence_of_the_answer() -> None:
    answers = {"text": ["tea", "a tea"], "answer_start": [10, 8]}
    row = bound(shared_model("bert")).encode_example(
        Example({"question": "which?", "context": "tea and a tea", "answers": answers})
    )
    target = get_supervision(row, SpanTarget)
    assert target.token_span is not None
    assert get_alignment(row).get_char_span(*target.token_span) == (10, 13)
    assert target.references == ("tea", "a tea")


def test_missing_head_encoder_decoder_and_missing_context_are_rejected() -> None:
    with pytest.raises(TaskError, match="trained with the prompt"):
        TASK.build_objective(shared_model("bert"), 60)
    with pytest.raises(TaskError, match="encoder-decoder"):
        TASK.build_objective(shared_model("bart"), 60, LinearHead(2, 24))
    with pytest.raises(TaskError, match="must contain {context} exactly once"):
        ExtractiveQATask(template="{question} {text}").prepare([])


@pytest.mark.parametrize(("method", "encoder"), METHODS_FOR_ANY_TASK)
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_saved_prompt_predicts_like_the_trained_one(
    family: str, method: str, encoder: str, tmp_path: Path, write_jsonl: WriteJsonl
) -> None:
    model, data = tiny_model(family), write_jsonl("a.jsonl", ROWS)
    tuned = softprompt.tune(
        model, data=data, validation=data, output=tmp_path / "p", method=method, encoder=encoder,
        max_steps=2, batch_size=4, num_virtual_tokens=3,
    )  # fmt: skip
    assert tuned.prompt is not None
    saved = SavedPrompt.from_folder(tmp_path / "p")
    assert saved.head is not None
    assert "linear head" in (saved.peft_incompatibility or "")
    question, context = ROWS[0]["question"], ROWS[0]["context"]
    one, other = (softprompt.extract(model, prompt, question, context) for prompt in (tuned.prompt, saved))
    assert one == other
    assert one.answer == context[one.start : one.end]
    figures = softprompt.evaluate(model, saved, read_examples(data))
    for name, value in saved.manifest.metrics["validation"].items():
        assert figures[name] == pytest.approx(value, abs=1e-5)
    assert figures["hard_prompt"] is None


def test_tuned_prompt_predicts_training_examples(tmp_path: Path, write_jsonl: WriteJsonl) -> None:
    model, data = tiny_model("llama"), write_jsonl("a.jsonl", ROWS)
    tuned = softprompt.tune(
        model, data=data, validation=data, output=tmp_path / "p",
        max_steps=60, batch_size=6, num_virtual_tokens=3, learning_rate=0.05,
    )  # fmt: skip
    assert tuned.best["f1"] == tuned.best["exact_match"] == 1
    context = "the film serves fish tea and its plot was awful"
    found = softprompt.extract(model, SavedPrompt.from_folder(tmp_path / "p"), "which food?", context)
    assert (found.answer, found.start, found.end) == ("fish tea", 16, 24)
    assert 0.3 < found.probability <= 1
