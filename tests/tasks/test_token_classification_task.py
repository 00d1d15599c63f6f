"""Token classification: output positions, targets and metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import softprompt
from softprompt.data import Example, read_examples
from softprompt.errors import RecordError, SettingError, TaskError
from softprompt.evaluation.batch_inference import collect_outputs
from softprompt.model import FrozenModel, Payload, Placement
from softprompt.saved import SavedPrompt
from softprompt.tasks import EncodedExample, LinearHead, TokenClassificationTask
from softprompt.tasks.encoded_example import get_alignment
from softprompt.tasks.metrics.entity_metrics import entity_f1_score, extract_entities, has_bio_tags
from softprompt.tasks.token_classification_task import TokenClassificationObjective
from tests.strategies import METHODS_FOR_ANY_TASK, random_embeddings, random_prefix
from tests.tiny import MASKED_FAMILIES, shared_model, tiny_model

WriteJsonl = Callable[[str, Sequence[Any]], Path]
READING_FAMILIES = ("llama", "gpt2", *MASKED_FAMILIES)
TASK = TokenClassificationTask(labels=("B-FOOD", "I-FOOD", "O"))
SENTENCES = (["rice"], ["its", "unheard-of", "fish", "tea", "was", "lovely"], ["the", "food"])
ROWS = [
    {"tokens": ["the", "film", "serves", food], "tags": ["O", "O", "O", "B-FOOD" if food in ("rice", "tea") else "O"]}
    for food in ("rice", "tea", "plot", "ending")
] * 3


def head(model: FrozenModel, K: int = 3) -> LinearHead:
    made = LinearHead(K, model.shape.hidden_size)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return made.requires_grad_(False)


def bound(model: FrozenModel, room: int = 60, task: TokenClassificationTask = TASK) -> TokenClassificationObjective:
    return task.build_objective(model, room, head(model, len(task.labels)))


def tagged(words: list[str], *tags: str) -> Example:
    return Example({"tokens": words, "tags": list(tags)}, "a.jsonl:1")


def words(*each: str) -> Example:
    return Example({"tokens": list(each)}, "a.jsonl:1")


def read(
    objective: TokenClassificationObjective, payload: Payload | None, row: EncodedExample
) -> list[torch.Tensor | None]:
    return objective.split_by_word(collect_outputs(objective, payload, [row])[0], row)


@pytest.mark.parametrize("family", READING_FAMILIES)
def test_every_word_is_classified_at_its_first_token(family: str) -> None:
    model = shared_model(family)
    objective = bound(model)
    sentence = SENTENCES[1]
    found = read(objective, None, objective.encode_words(words(*sentence)))
    ids = model.tokenizer(" ".join(sentence)).input_ids
    with torch.no_grad():
        states = model.family.get_backbone(model.network)(torch.tensor([ids])).last_hidden_state[0]
    offsets = model.tokenizer(" ".join(sentence), return_offsets_mapping=True).offset_mapping
    at = 0
    for word, log_probabilities in zip(sentence, found, strict=True):
        first = next(i for i, (start, end) in enumerate(offsets) if start <= at < end)
        expected = objective.head.compute_logits(states[first : first + 1])[0].log_softmax(dim=0)
        torch.testing.assert_close(log_probabilities, expected, atol=1e-4, rtol=0)
        at += len(word) + 1


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
        compiled = model.compile_payload(made)
    template = "[P1-2] {tokens} [P3] so" if payload == "in-template" else "say {tokens} so"
    objective = bound(model, 50, TASK.model_copy(update={"template": template}))
    rows = [objective.encode_words(words(*sentence)) for sentence in SENTENCES]
    together = collect_outputs(objective, compiled, rows)
    for output, row in zip(together, rows, strict=True):
        alone = read(objective, compiled, row)
        for one, other in zip(objective.split_by_word(output, row), alone, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_the_loss_is_the_mean_over_words() -> None:
    model = shared_model("bert")
    objective = bound(model)
    rows = [
        objective.encode_example(tagged(["rice", "was", "good"], "B-FOOD", "O", "O")),
        objective.encode_example(tagged(["tea"], "B-FOOD")),
    ]
    batch = objective.collate(rows, None)
    with torch.no_grad():
        losses = objective.compute_losses(objective.forward_batch(batch, None), batch)
    assert batch.example_weights.tolist() == [3, 1]
    found = objective.compute_metrics(collect_outputs(objective, None, rows), rows)
    assert found["loss"] == pytest.approx(float(losses.sum()) / 4, abs=1e-5)
    assert list(found) == ["f1", "accuracy", "loss"]


def test_truncated_words_count_as_wrong() -> None:
    objective = bound(shared_model("bert"), room=6)
    row = objective.encode_example(tagged(["rice"] * 10, *["O"] * 10))
    assert len(row) == 6
    assert row.is_truncated
    assert [place >= 0 for place in get_alignment(row).token_positions] == [True] * 4 + [False] * 6
    batch = objective.collate([row], None)
    assert (len(batch.output_indices), len(batch.targets), float(batch.example_weights[0])) == (4, 4, 4)
    certain = torch.tensor([[-9.0, -9.0, 0.0] * 4])
    assert objective.compute_metrics(certain, [row])["accuracy"] == 0.4


def test_multi_token_character_at_the_limit_is_truncated() -> None:
    whole = len(bound(shared_model("bert")).encode_words(words("电", "影", "院")))
    for room in range(6, whole):
        row = bound(shared_model("bert"), room).encode_words(words("电", "影", "院"))
        assert row.is_truncated
        assert len(row) <= room
    with pytest.raises(RecordError, match="no space left"):
        bound(shared_model("bert"), 3).encode_words(words("电", "影", "院"))


def test_word_without_tokens_is_not_classified() -> None:
    objective = bound(shared_model("llama"))
    row = objective.encode_example(tagged(["rice", "", "tea"], "O", "O", "O"))
    assert [place >= 0 for place in get_alignment(row).token_positions] == [True, False, True]
    assert read(objective, None, row)[1] is None


def test_special_tokens_among_the_words_are_encoded_as_text() -> None:
    model = shared_model("bert")
    row = bound(model).encode_words(words("[MASK]", "is", "[SEP]"))
    assert row.prompt_ids.count(model.eos_token_id) == 1


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["O", "B-A", "I-A", "O"], {("A", 1, 3)}),
        (["B-A", "B-A"], {("A", 0, 1), ("A", 1, 2)}),
        (["B-A", "I-B", "I-B"], {("A", 0, 1), ("B", 1, 3)}),
        (["I-A", "O", "I-A"], {("A", 0, 1), ("A", 2, 3)}),
        (["O", "O"], set()),
        ([], set()),
    ],
)
def test_entities_are_extracted_from_tags(tags: list[str], expected: set[tuple[str, int, int]]) -> None:
    assert extract_entities(tags) == expected


def test_entity_f1_equals_a_hand_computed_value() -> None:
    right = [["B-A", "I-A", "O", "B-B"], ["B-A", "O"]]
    predicted = [["B-A", "I-A", "O", "B-A"], ["O", "O"]]
    # Three entities, two predicted, one of them right: precision 1/2, recall 1/3.
    assert entity_f1_score(predicted, right) == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))
    assert entity_f1_score([["B-A", "O"]], [["B-A", "I-A"]]) == 0  # a part of an entity does not count
    assert entity_f1_score([["O"]], [["O"]]) == 0


def test_metrics_of_tags_without_entities_have_no_f1() -> None:
    assert not has_bio_tags(("NOUN", "VERB", "O"))
    assert not has_bio_tags(("O",))
    task = TokenClassificationTask(labels=("NOUN", "VERB"))
    objective = bound(shared_model("bert"), task=task)
    row = objective.encode_example(tagged(["tea", "was"], "NOUN", "VERB"))
    found = objective.compute_metrics(torch.tensor([[0.0, -9.0, 0.0, -9.0]]), [row])
    assert found == {"accuracy": 0.5, "loss": 4.5}
    assert objective.selection_key(found) == (0.5, -4.5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "2 words but 1 tags"),
        ({"tokens": ["a"], "tags": ["B-X"]}, "not one of B-FOOD, I-FOOD, O"),
        ({"tokens": [], "tags": []}, "neither a text nor a list of texts"),
        ({"tokens": ["a"]}, "no field 'tags'"),
        ({"tokens": [""], "tags": ["O"]}, "no token"),
    ],
)
def test_invalid_records_are_rejected(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=f"^a.jsonl:7: .*{message}"):
        bound(shared_model("bert")).encode_example(Example(fields, "a.jsonl:7"))


def test_window_without_space_for_any_word_is_rejected() -> None:
    with pytest.raises(RecordError, match="no space left"):
        bound(shared_model("bert"), room=2).encode_words(words("rice"))


def test_tags_are_those_of_the_data_in_alphabetical_order_unless_labels_are_given() -> None:
    examples = [tagged(["rice"], "O"), tagged(["tea"], "B-FOOD")]
    assert TokenClassificationTask().prepare(examples).labels == ("B-FOOD", "O")
    assert TASK.prepare(examples) is TASK  # a rare tag may occur only in other data
    with pytest.raises(RecordError, match="`labels`"):
        TokenClassificationTask(labels=("O", "B-X")).prepare(examples)
    with pytest.raises(TaskError, match="at least two"):
        TokenClassificationTask().prepare(examples[:1])
    with pytest.raises(TaskError, match="must contain {tokens} exactly once"):
        TokenClassificationTask(template="{text}").prepare(examples)


def test_missing_head_and_encoder_decoder_are_rejected() -> None:
    with pytest.raises(TaskError, match="trained with the prompt"):
        TASK.build_objective(shared_model("bert"), 60)
    with pytest.raises(TaskError, match="encoder-decoder"):
        TASK.build_objective(shared_model("t5"), 60, LinearHead(3, 24))


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
    assert saved.head["weight"].shape == (2, model.shape.hidden_size)
    assert "linear head" in (saved.peft_incompatibility or "")
    one, other = (softprompt.tag(model, prompt, "the film serves tea") for prompt in (tuned.prompt, saved))
    assert one == other
    figures = softprompt.evaluate(model, saved, read_examples(data))
    for name, value in saved.manifest.metrics["validation"].items():
        assert figures[name] == pytest.approx(value, abs=1e-5)
    assert figures["hard_prompt"] is None


def test_tuned_prompt_predicts_training_examples(tmp_path: Path, write_jsonl: WriteJsonl) -> None:
    model, data = tiny_model("bert"), write_jsonl("a.jsonl", ROWS)
    tuned = softprompt.tune(
        model, data=data, validation=data, output=tmp_path / "p",
        max_steps=40, batch_size=4, num_virtual_tokens=3, learning_rate=0.05,
    )  # fmt: skip
    assert tuned.best["f1"] == tuned.best["accuracy"] == 1
    found = softprompt.tag(model, SavedPrompt.from_folder(tmp_path / "p"), ["the", "film", "serves", "tea"])
    assert found.tags == ["O", "O", "O", "B-FOOD"]
    assert all(sum(each.values()) == pytest.approx(1, abs=1e-5) for each in found.probabilities)


def test_unsupported_settings_and_functions_are_rejected_for_token_classification(
    tmp_path: Path, write_jsonl: WriteJsonl
) -> None:
    model, data = tiny_model("bert"), write_jsonl("a.jsonl", ROWS)
    settings = {"data": data, "validation": data, "output": tmp_path / "p", "max_steps": 1, "num_virtual_tokens": 2}
    with pytest.raises(TaskError, match="need a linear head"):
        softprompt.tune(model, **settings, head="verbalizer")
    with pytest.raises(TaskError, match="do not see what follows"):
        softprompt.tune(tiny_model("llama"), **settings, method="prompt", placement="after-text")
    with pytest.raises(TaskError, match="encoder-decoder"):
        softprompt.tune(tiny_model("t5"), **settings)
    with pytest.raises(TaskError, match="`verbalizer`"):
        softprompt.tune(model, **settings, verbalizer={"O": "nothing"})
    softprompt.tune(model, **settings)
    prompt = SavedPrompt.from_folder(tmp_path / "p")
    with pytest.raises(SettingError, match="no word"):
        softprompt.tag(model, prompt, " ")
    with pytest.raises(TaskError, match="softprompt tag"):
        softprompt.classify(model, prompt, ["the film"])
    with pytest.raises(TaskError, match="softprompt tag"):
        list(softprompt.respond(model, prompt, "the film"))
    with pytest.raises(TaskError, match="softprompt tag"):
        softprompt.extract(model, prompt, "what?", "the film")
