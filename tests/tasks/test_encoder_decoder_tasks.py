"""Tasks on encoder-decoders, whose answers follow the decoder's first tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import softprompt
from softprompt.data import Example, read_examples
from softprompt.errors import RecordError, SettingError, TaskError
from softprompt.model import Payload, PromptEmbeddings
from softprompt.model.prompt_tokenizer import DECODER_START
from softprompt.saved import SavedPrompt
from softprompt.tasks import ChatTask, ClassificationTask, GenerationTask, LinearHead, Objective
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.generation_task import GenerationObjective
from tests.strategies import random_embeddings, random_prefix
from tests.tiny import ENCODER_DECODER_FAMILIES, shared_model, tiny_model

families = st.sampled_from(ENCODER_DECODER_FAMILIES)
each_family = pytest.mark.parametrize("family", ENCODER_DECODER_FAMILIES)
words = st.text("abcdefgh ", min_size=1, max_size=20).filter(str.strip)

TEXT = Example({"text": "the film was great"})


def sides(row: list[int], start: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the inputs of transformers' own model for an example."""
    at = row.index(DECODER_START)
    return torch.tensor([row[:at]]), torch.tensor([[start[0], *row[at + 1 :]]])


def writer(family: str, room: int = 60, template: str = "{input}\n") -> GenerationObjective:
    return GenerationTask(template=template).build_objective(shared_model(family), room)


@torch.no_grad()
def losses(objective: Objective, payload: Payload | None, *examples: Example) -> torch.Tensor:
    batch = objective.collate([objective.encode_example(example) for example in examples], payload)
    return objective.compute_losses(objective.forward_batch(batch, payload), batch)


@torch.no_grad()
def read(objective: ClassificationObjective, payload: Payload | None, *examples: Example) -> torch.Tensor:
    batch = objective.collate([objective.encode_unlabeled(example) for example in examples], payload)
    return objective.compute_log_probs(objective.forward_batch(batch, payload), batch)


@given(family=families, pairs=st.lists(st.tuples(words, words), min_size=1, max_size=4))
def test_response_loss_equals_that_of_transformers(family: str, pairs: list[tuple[str, str]]) -> None:
    model, objective = shared_model(family), writer(family)
    examples = [Example({"input": i, "output": o}) for i, o in pairs]
    for example, loss in zip(examples, losses(objective, None, *examples), strict=True):
        row = objective.encode_example(example)
        text, said = sides([*row.prompt_ids, *row.response_ids[:-1]], model.prompt_tokenizer.decoder_prompt_ids)  # type: ignore[attr-defined]
        with torch.no_grad():
            logits = model.network(input_ids=text, decoder_input_ids=said).logits[0, -len(row.response_ids) :]
        expected = torch.nn.functional.cross_entropy(logits, torch.tensor(row.response_ids), reduction="sum")
        torch.testing.assert_close(loss, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("template", ["{input}", "{input}:", "{input} "])
def test_response_is_tokenized_without_the_template(template: str) -> None:
    objective = writer("t5", template=template)
    row = objective.encode_example(Example({"input": "a", "output": "great fun"}))
    assert [*row.response_ids] == [
        *objective.model.prompt_tokenizer.tokenize("great fun"),
        objective.model.eos_token_id,
    ]
    assert row.prompt_ids[-2:] == [objective.model.eos_token_id, DECODER_START]


@each_family
@pytest.mark.parametrize("words", [{}, {"bad": "great fun", "good": "great rice"}], ids=["one token", "several"])
def test_labels_follow_the_decoder_prompt(family: str, words: dict[str, str]) -> None:
    model = shared_model(family)
    task = ClassificationTask(labels=("good", "bad"), words=words, template="{text} so it was")
    found = read(task.build_objective(model, 60), None, TEXT)[0]
    ids = [model.prompt_tokenizer.tokenize(words.get(label, label)) for label in task.labels]
    shared = 0
    while ids[0][shared] == ids[1][shared]:
        shared += 1
    prompt = task.build_objective(model, 60).encode_unlabeled(TEXT).prompt_ids
    text, said = sides([*prompt, *ids[0][:shared]], model.prompt_tokenizer.decoder_prompt_ids)  # type: ignore[attr-defined]
    with torch.no_grad():
        logits = model.network(input_ids=text, decoder_input_ids=said).logits[0, -1]
    expected = logits[torch.tensor([each[shared] for each in ids])].log_softmax(dim=0)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("payload", ["embeddings", "prefix"])
def test_outputs_of_a_batch_of_different_lengths_equal_those_of_single_examples(payload: str) -> None:
    model = shared_model("bart")
    made = random_embeddings(model, 3, 0) if payload == "embeddings" else random_prefix(model, 3, 0)
    task = ClassificationTask(labels=("good", "bad", "a"), words={"bad": "a bore", "a": "a tea"}, template="{text} so")
    objective = task.build_objective(model, 50)
    assert len(objective.label_scorer.output_nodes) > 1
    texts = [Example({"text": text}) for text in ("fun", "the plot was a bore and its ending awful", "the cast")]
    together = read(objective, made, *texts)
    for row, text in enumerate(texts):
        torch.testing.assert_close(together[row], read(objective, made, text)[0], atol=1e-4, rtol=0)


@each_family
def test_linear_head_reads_the_decoder_prompt(family: str) -> None:
    model = shared_model(family)
    head = LinearHead(2, model.shape.hidden_size)
    with torch.no_grad():
        head.weight.normal_(generator=torch.Generator().manual_seed(0))
        objective = ClassificationTask(labels=("good", "bad")).build_objective(model, 60, head)
        found = read(objective, None, TEXT)[0]
        text, said = sides(objective.encode_unlabeled(TEXT).prompt_ids, model.prompt_tokenizer.decoder_prompt_ids)  # type: ignore[attr-defined]
        whole = model.network(input_ids=text, decoder_input_ids=said, output_hidden_states=True)
        last = model.family.get_backbone(model.network).get_submodule("decoder")(
            input_ids=said, encoder_hidden_states=whole.encoder_last_hidden_state
        )
        expected = (head.weight @ last.last_hidden_state[0, -1] + head.bias).log_softmax(dim=0)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_text_and_response_have_separate_windows() -> None:
    objective = writer("bart", room=64)
    row = objective.encode_example(Example({"input": "scene " * 90, "output": "fun " * 50}))
    assert row.is_truncated
    assert row.prompt_ids.index(DECODER_START) == 64
    assert float(losses(objective, None, Example({"input": "scene " * 90, "output": "fun " * 50}))) > 0
    with pytest.raises(RecordError, match="the response has"):
        objective.encode_example(Example({"input": "a", "output": "fun " * 63}))
    with pytest.raises(SettingError, match="`max_new_tokens=63`: choose 1 to 62"):
        objective.encode_prompt(Example({"input": "a"}), 63)


def test_virtual_tokens_reduce_the_text_length() -> None:
    objective = writer("bart", room=64 - 5)
    row = objective.encode_example(Example({"input": "scene " * 90, "output": "fun"}))
    payload = random_embeddings(objective.model, 5, 0)
    assert len(payload.apply_to_prompt(row.prompt_ids)[: row.prompt_ids.index(DECODER_START) + 5]) == 64
    assert losses(objective, payload, Example({"input": "scene " * 90, "output": "fun"})).isfinite()


@pytest.mark.parametrize(
    "task", [GenerationTask(template="{text} [MASK]"), ClassificationTask(labels=("a", "b"), template="{text} [MASK]")]
)
def test_mask_in_a_template_is_rejected_unless_the_model_is_masked(task: GenerationTask | ClassificationTask) -> None:
    with pytest.raises(TaskError, match=r"is not a masked model and cannot fill \[MASK\]"):
        task.build_objective(shared_model("t5"), 60)
    with pytest.raises(TaskError, match=r"cannot fill \[MASK\]"):
        task.build_objective(shared_model("llama"), 60)


def test_chat_on_an_encoder_decoder_is_rejected() -> None:
    model = tiny_model("t5")
    with pytest.raises(TaskError, match="has no chat template"):
        ChatTask().build_objective(model, 60)
    model.prompt_tokenizer = model.prompt_tokenizer.clone()
    model.tokenizer.chat_template = "{{ messages }}"
    with pytest.raises(TaskError, match="is not a causal model"):
        ChatTask().build_objective(model, 60)


@each_family
@pytest.mark.parametrize(("method", "rate"), [("prompt", 0.1), ("prefix", 0.05)])
def test_tuned_prompt_has_a_lower_loss_than_the_hard_prompt_and_generates_text(
    family: str, method: str, rate: float, pairs: Path, tmp_path: Path
) -> None:
    """Covers data, training, which lowers the loss, and generation."""
    model = tiny_model(family)
    tuned = softprompt.tune(
        model, data=pairs, validation=pairs, output=tmp_path / "p", method=method, num_virtual_tokens=4, max_steps=12,
        batch_size=6, learning_rate=rate, eval_steps=4,
    )  # fmt: skip
    saved = SavedPrompt.from_folder(tmp_path / "p")
    assert isinstance(saved.payload, PromptEmbeddings) == (method == "prompt")
    figures = softprompt.evaluate(
        model, saved, list(read_examples(str(pairs))), sampling=softprompt.SamplingParams(max_new_tokens=9)
    )
    assert figures["loss"] < figures["hard_prompt"]["loss"]
    assert figures["loss"] == pytest.approx(tuned.best["loss"], abs=1e-4)
    pieces = list(
        softprompt.respond(model, saved, "name: Aro, food: rice", softprompt.SamplingParams(max_new_tokens=6))
    )
    assert "".join(pieces)
