"""Tags of words: what is read, what is learnt, and the figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import softprompt
from softprompt.data import Example, read_examples
from softprompt.errors import RowError, SettingError, TaskError
from softprompt.evaluation.measuring import row_outputs
from softprompt.model import FrozenModel, Payload, Placement
from softprompt.saved import SavedPrompt
from softprompt.tasks import LinearHead, Row, TaggingTask
from softprompt.tasks.entities import entities, entity_f1, is_bio
from softprompt.tasks.tagging import TaggingObjective
from tests.strategies import METHODS_FOR_ANY_TASK, random_embeddings, random_prefix
from tests.tiny import MASKED_FAMILIES, shared_model, tiny_model

WriteJsonl = Callable[[str, Sequence[Any]], Path]
READING_FAMILIES = ("llama", "gpt2", *MASKED_FAMILIES)
TASK = TaggingTask(labels=("B-FOOD", "I-FOOD", "O"))
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


def bound(model: FrozenModel, room: int = 60, task: TaggingTask = TASK) -> TaggingObjective:
    return task.bind(model, room, head(model, len(task.labels)))


def tagged(words: list[str], *tags: str) -> Example:
    return Example({"tokens": words, "tags": list(tags)}, "a.jsonl:1")


def words(*each: str) -> Example:
    return Example({"tokens": list(each)}, "a.jsonl:1")


def read(objective: TaggingObjective, payload: Payload | None, row: Row) -> list[torch.Tensor | None]:
    return objective.by_word(row_outputs(objective, payload, [row])[0], row)


@pytest.mark.parametrize("family", READING_FAMILIES)
def test_every_words_first_token_is_read_in_its_place(family: str) -> None:
    model = shared_model(family)
    objective = bound(model)
    sentence = SENTENCES[1]
    found = read(objective, None, objective.encode_words(words(*sentence)))
    ids = model.tokenizer(" ".join(sentence)).input_ids
    with torch.no_grad():
        states = model.family.trunk(model.network)(torch.tensor([ids])).last_hidden_state[0]
    offsets = model.tokenizer(" ".join(sentence), return_offsets_mapping=True).offset_mapping
    at = 0
    for word, log_probabilities in zip(sentence, found, strict=True):
        first = next(i for i, (start, end) in enumerate(offsets) if start <= at < end)
        expected = objective.head.scores(states[first : first + 1])[0].log_softmax(dim=0)
        torch.testing.assert_close(log_probabilities, expected, atol=1e-4, rtol=0)
        at += len(word) + 1


@pytest.mark.parametrize("family", READING_FAMILIES)
@pytest.mark.parametrize("payload", ["prefix", *Placement])
def test_a_batch_of_long_and_short_rows_is_the_rows_alone(family: str, payload: str) -> None:
    model = shared_model(family)
    if payload != "prefix" and (payload not in model.placements or (payload == "after-bos" and model.bos is None)):
        return
    made = random_prefix(model, 3, 0) if payload == "prefix" else random_embeddings(model, 3, 0, Placement(payload))
    with torch.no_grad():
        compiled = model.compile(made)
    template = "[P1-2] {tokens} [P3] so" if payload == "in-template" else "say {tokens} so"
    objective = bound(model, 50, TASK.model_copy(update={"template": template}))
    rows = [objective.encode_words(words(*sentence)) for sentence in SENTENCES]
    together = row_outputs(objective, compiled, rows)
    for output, row in zip(together, rows, strict=True):
        alone = read(objective, compiled, row)
        for one, other in zip(objective.by_word(output, row), alone, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_the_loss_is_the_mean_over_words() -> None:
    model = shared_model("bert")
    objective = bound(model)
    rows = [
        objective.encode(tagged(["rice", "was", "good"], "B-FOOD", "O", "O")),
        objective.encode(tagged(["tea"], "B-FOOD")),
    ]
    batch = objective.collate(rows, None)
    with torch.no_grad():
        losses = objective.losses(objective.read(batch, None), batch)
    assert batch.weights.tolist() == [3, 1]
    found = objective.metrics(row_outputs(objective, None, rows), rows)
    assert found["loss"] == pytest.approx(float(losses.sum()) / 4, abs=1e-5)
    assert list(found) == ["f1", "accuracy", "loss"]


def test_words_that_do_not_fit_are_cut_and_count_as_wrong() -> None:
    objective = bound(shared_model("bert"), room=6)
    row = objective.encode(tagged(["rice"] * 10, *["O"] * 10))
    assert len(row) == 6
    assert row.cut
    assert row.passage is not None
    assert [place >= 0 for place in row.passage.places] == [True] * 4 + [False] * 6
    batch = objective.collate([row], None)
    assert (len(batch.reads), len(batch.targets), float(batch.weights[0])) == (4, 4, 4)
    certain = torch.tensor([[-9.0, -9.0, 0.0] * 4])
    assert objective.metrics(certain, [row])["accuracy"] == 0.4


def test_a_character_of_several_tokens_at_the_end_of_the_room() -> None:
    whole = len(bound(shared_model("bert")).encode_words(words("电", "影", "院")))
    for room in range(6, whole):
        row = bound(shared_model("bert"), room).encode_words(words("电", "影", "院"))
        assert row.cut
        assert len(row) <= room
    with pytest.raises(RowError, match="leaves no room"):
        bound(shared_model("bert"), 3).encode_words(words("电", "影", "院"))


def test_a_word_without_a_token_is_not_read() -> None:
    objective = bound(shared_model("llama"))
    row = objective.encode(tagged(["rice", "", "tea"], "O", "O", "O"))
    assert row.passage is not None
    assert [place >= 0 for place in row.passage.places] == [True, False, True]
    assert read(objective, None, row)[1] is None


def test_a_special_token_among_the_words_is_only_a_word() -> None:
    model = shared_model("bert")
    row = bound(model).encode_words(words("[MASK]", "is", "[SEP]"))
    assert row.prompt.count(model.eos) == 1


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
def test_entities(tags: list[str], expected: set[tuple[str, int, int]]) -> None:
    assert entities(tags) == expected


def test_f1_of_entities_by_hand() -> None:
    right = [["B-A", "I-A", "O", "B-B"], ["B-A", "O"]]
    predicted = [["B-A", "I-A", "O", "B-A"], ["O", "O"]]
    # Three names, two found, one of them right: precision 1/2, recall 1/3.
    assert entity_f1(predicted, right) == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))
    assert entity_f1([["B-A", "O"]], [["B-A", "I-A"]]) == 0  # half a name is none
    assert entity_f1([["O"]], [["O"]]) == 0


def test_tags_that_name_nothing_have_no_f1() -> None:
    assert not is_bio(("NOUN", "VERB", "O"))
    assert not is_bio(("O",))
    task = TaggingTask(labels=("NOUN", "VERB"))
    objective = bound(shared_model("bert"), task=task)
    row = objective.encode(tagged(["tea", "was"], "NOUN", "VERB"))
    found = objective.metrics(torch.tensor([[0.0, -9.0, 0.0, -9.0]]), [row])
    assert found == {"accuracy": 0.5, "loss": 4.5}
    assert objective.quality(found) == (0.5, -4.5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "2 words and 1 tags"),
        ({"tokens": ["a"], "tags": ["B-X"]}, "none of B-FOOD, I-FOOD, O"),
        ({"tokens": [], "tags": []}, "neither a text nor a list"),
        ({"tokens": ["a"]}, "no field 'tags'"),
        ({"tokens": [""], "tags": ["O"]}, "no token"),
    ],
)
def test_rows_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RowError, match=f"^a.jsonl:7: .*{message}"):
        bound(shared_model("bert")).encode(Example(fields, "a.jsonl:7"))


def test_no_room_for_a_word() -> None:
    with pytest.raises(RowError, match="leaves no room"):
        bound(shared_model("bert"), room=2).encode_words(words("rice"))


def test_tags_are_found_in_alphabetical_order_or_said() -> None:
    examples = [tagged(["rice"], "O"), tagged(["tea"], "B-FOOD")]
    assert TaggingTask().prepared(examples).labels == ("B-FOOD", "O")
    assert TASK.prepared(examples) is TASK  # a tag that is rare may be in other data alone
    with pytest.raises(RowError, match="`labels`"):
        TaggingTask(labels=("O", "B-X")).prepared(examples)
    with pytest.raises(TaskError, match="at least two"):
        TaggingTask().prepared(examples[:1])
    with pytest.raises(TaskError, match="needs {tokens} once"):
        TaggingTask(template="{text}").prepared(examples)


def test_it_needs_a_head_and_one_stack() -> None:
    with pytest.raises(TaskError, match="trained with the prompt"):
        TASK.bind(shared_model("bert"), 60)
    with pytest.raises(TaskError, match="encoder-decoder"):
        TASK.bind(shared_model("t5"), 60, LinearHead(3, 24))


@pytest.mark.parametrize(("method", "encoder"), METHODS_FOR_ANY_TASK)
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_saved_is_trained(family: str, method: str, encoder: str, tmp_path: Path, write_jsonl: WriteJsonl) -> None:
    model, data = tiny_model(family), write_jsonl("a.jsonl", ROWS)
    tuned = softprompt.tune(
        model, data=data, validation=data, output=tmp_path / "p", method=method, encoder=encoder,
        steps=2, batch_size=4, virtual_tokens=3,
    )  # fmt: skip
    assert tuned.prompt is not None
    saved = SavedPrompt.read(tmp_path / "p")
    assert saved.head is not None
    assert saved.head["weight"].shape == (2, model.shape.hidden_size)
    assert "linear head" in (saved.peft_refusal or "")
    one, other = (softprompt.tag(model, prompt, "the film serves tea") for prompt in (tuned.prompt, saved))
    assert one == other
    figures = softprompt.evaluate(model, saved, read_examples(data))
    for name, value in saved.manifest.metrics["validation"].items():
        assert figures[name] == pytest.approx(value, abs=1e-5)
    assert figures["hard_prompt"] is None


def test_it_learns(tmp_path: Path, write_jsonl: WriteJsonl) -> None:
    model, data = tiny_model("bert"), write_jsonl("a.jsonl", ROWS)
    tuned = softprompt.tune(
        model, data=data, validation=data, output=tmp_path / "p",
        steps=40, batch_size=4, virtual_tokens=3, learning_rate=0.05,
    )  # fmt: skip
    assert tuned.best["f1"] == tuned.best["accuracy"] == 1
    found = softprompt.tag(model, SavedPrompt.read(tmp_path / "p"), ["the", "film", "serves", "tea"])
    assert found.tags == ["O", "O", "O", "B-FOOD"]
    assert all(sum(each.values()) == pytest.approx(1, abs=1e-5) for each in found.probabilities)


def test_tagging_refuses_what_it_cannot(tmp_path: Path, write_jsonl: WriteJsonl) -> None:
    model, data = tiny_model("bert"), write_jsonl("a.jsonl", ROWS)
    settings = {"data": data, "validation": data, "output": tmp_path / "p", "steps": 1, "virtual_tokens": 2}
    with pytest.raises(TaskError, match="linear head alone"):
        softprompt.tune(model, **settings, head="verbalizer")
    with pytest.raises(TaskError, match="never sees"):
        softprompt.tune(tiny_model("llama"), **settings, method="prompt", placement="after-text")
    with pytest.raises(TaskError, match="encoder-decoder"):
        softprompt.tune(tiny_model("t5"), **settings)
    with pytest.raises(TaskError, match="`verbalizer`"):
        softprompt.tune(model, **settings, verbalizer={"O": "nothing"})
    softprompt.tune(model, **settings)
    prompt = SavedPrompt.read(tmp_path / "p")
    with pytest.raises(SettingError, match="no word"):
        softprompt.tag(model, prompt, " ")
    with pytest.raises(TaskError, match="softprompt tag"):
        softprompt.classify(model, prompt, ["the film"])
    with pytest.raises(TaskError, match="softprompt tag"):
        list(softprompt.respond(model, prompt, "the film"))
    with pytest.raises(TaskError, match="softprompt tag"):
        softprompt.extract(model, prompt, "what?", "the film")
