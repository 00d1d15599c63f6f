"""Model cards of pushed prompts: their contents, the escaping of markup, and that their code runs."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM, LlamaConfig

import softprompt
from softprompt.cli.main import run_cli
from softprompt.evaluation import SamplingParams
from softprompt.hub import build_model_card, push_to_hub
from softprompt.hub.base_model_source import BaseModelSource
from softprompt.hub.model_card import format_code_block, format_code_span
from softprompt.model import FrozenModel, Payload, load_model
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask, ExtractiveQATask, GenerationTask, TokenClassificationTask
from softprompt.tasks.chat_task import ChatTask
from softprompt.tasks.task import Task
from tests.hub.fake_hub import FakeHub
from tests.saved.factories import make, random_head
from tests.strategies import random_embeddings, random_prefix
from tests.tiny import ENCODER_DECODER_CONFIGS, shared_model, template_for, tiny_model, tiny_tokenizer

NAME = "acme/reviews"
TASKS: dict[str, Task] = {
    "one field": ClassificationTask(labels=("good", "bad"), template="Review: {text}\nIt is"),
    "two fields": ClassificationTask(labels=("0", "1"), words={"0": "no"}, template="{one} {two}\nSame:"),
    "writing": GenerationTask(template="Review: {input}\nOur answer:"),
    "writing of two": GenerationTask(template="Q: {question} {{C}}: {context}\nA:"),
    "chat": ChatTask(),
    "distilled chat": ChatTask(system_message="prompt"),
}


def about(task: Task, saved: SavedPrompt | None = None) -> SavedPrompt:
    """A prompt for a task."""
    saved = saved or make()
    return replace(saved, manifest=saved.manifest.model_copy(update={"task": task}).with_content_hash())


def named(saved: SavedPrompt, base: str) -> SavedPrompt:
    manifest = saved.manifest
    model = manifest.base.model_copy(update={"name": base})
    return replace(saved, manifest=manifest.model_copy(update={"base": model}).with_content_hash())


def test_the_front_matter_has_base_model_library_metrics_and_tags() -> None:
    data = ModelCard(build_model_card(named(make(), "tiny/llama"), NAME, BaseModelSource.HUB)).data.to_dict()
    assert data == {
        "base_model": "tiny/llama",
        "library_name": "peft",
        "metrics": ["accuracy"],
        "pipeline_tag": "text-classification",
        "tags": ["softprompt", "soft-prompt", "prompt-tuning"],
    }


@pytest.mark.parametrize("origin", [BaseModelSource.BUNDLED, BaseModelSource.FOLDER])
def test_the_front_matter_omits_a_base_model_that_is_not_on_the_hub(origin: BaseModelSource) -> None:
    assert "base_model" not in ModelCard(build_model_card(make(), NAME, origin)).data.to_dict()


def test_prompts_that_peft_cannot_read_have_no_peft_metadata() -> None:
    text = build_model_card(make(head=random_head(shared_model("llama"))), NAME, BaseModelSource.BUNDLED)
    assert ModelCard(text).data.library_name == "softprompt"
    assert "Not possible: peft cannot express the trained linear head" in text
    assert "PeftModel" not in text
    assert "A trained linear head predicts the label" in text


def test_the_card_states_template_labels_fingerprint_training_and_metrics() -> None:
    saved = make()
    text = build_model_card(saved, NAME, BaseModelSource.BUNDLED)
    for words in (
        "# reviews",
        "```text\nReview: {text}\nIt is\n```",
        "- `good`\n- `bad`",
        f"`{saved.manifest.base.fingerprint}`",
        f"`{saved.manifest.content_hash}`",
        "`prompt`, init `text`, seed `0`",
        "Virtual tokens: 3, saved as embeddings, placed before",
        "Numbers: 72, which is 0.222% of the base model",
        "- accuracy: 0.75\n- loss: 0.5",
        "softprompt pull acme/reviews prompt",
    ):
        assert words in text


def test_the_card_of_a_distilled_prompt_states_that_it_holds_the_text() -> None:
    source = {"kind": "document", "path": "hand`book.md", "sha256": "0" * 64, "num_tokens": 949}
    saved = make()
    method = {"name": "distillation", "source": source, "seed": 0}
    distilled = replace(saved, manifest=saved.manifest.model_copy(update={"method": method}).with_content_hash())
    card = build_model_card(distilled, NAME, BaseModelSource.BUNDLED)
    assert "distilled from a text of 949 tokens (document:\n`` hand`book.md ``). **They hold its content**" in card
    assert "sha256" not in card.split("## The prompt")[1].split("Content hash")[0].split("Method")[1]
    assert "They hold" not in build_model_card(saved, NAME, BaseModelSource.BUNDLED)


def test_the_card_lists_the_verbalizer_and_the_fields_of_the_template() -> None:
    text = build_model_card(about(TASKS["two fields"]), NAME, BaseModelSource.BUNDLED)
    assert "- `0`, for which the model predicts `no`\n- `1`\n" in text
    assert "`{one}`, `{two}`" in text
    assert "`one`, `two` and\n`label`" in text


def test_the_card_of_a_prompt_without_metrics_states_that_none_were_recorded() -> None:
    saved = make()
    bare = replace(saved, manifest=saved.manifest.model_copy(update={"metrics": {}}).with_content_hash())
    text = build_model_card(bare, NAME, BaseModelSource.BUNDLED)
    assert "None were recorded" in text
    assert ModelCard(text).data.metrics is None


def test_building_a_card_twice_gives_the_same_text() -> None:
    assert build_model_card(make(), NAME, BaseModelSource.HUB) == build_model_card(make(), NAME, BaseModelSource.HUB)


def test_the_card_has_no_empty_sections_and_no_template_syntax() -> None:
    for task in TASKS.values():
        for origin in BaseModelSource:
            text = build_model_card(about(task), NAME, origin)
            assert "\n\n\n" not in text
            assert text.endswith("```\n")
            assert "{%" not in text
            assert len(re.findall("^```", text, re.MULTILINE)) % 2 == 0


@pytest.mark.parametrize(
    ("task", "pipeline", "command"),
    [
        (TokenClassificationTask(labels=("B-FOOD", "O")), "token-classification", 'softprompt tag prompt "a text"'),
        (ExtractiveQATask(), "question-answering", 'softprompt extract prompt --question "a question"'),
    ],
)
def test_cards_of_tagging_and_extraction_prompts_show_the_commands_of_their_task(
    task: Task, pipeline: str, command: str
) -> None:
    saved = about(task, make(head=random_head(shared_model("llama"))))
    for origin in BaseModelSource:
        text = build_model_card(saved, NAME, origin)
        assert ModelCard(text).data.pipeline_tag == pipeline
        assert command in text
        assert "classify" not in text
        assert "\n\n\n" not in text
        assert "{%" not in text


def test_markup_in_templates_labels_and_metrics_is_escaped() -> None:
    task = ClassificationTask(labels=("`a`", "b\n# Heading"), template="{text}\n```\n# Not a heading {{ 7 * 7 }}")
    saved = make()
    metrics = {"step": 1, "validation": {"accuracy": "<script>", "loss": 0.5}}
    forged = saved.manifest.model_copy(update={"task": task, "metrics": metrics}).with_content_hash()
    text = build_model_card(replace(saved, manifest=forged), NAME, BaseModelSource.BUNDLED)
    assert "````text\n{text}\n```\n# Not a heading {{ 7 * 7 }}\n````" in text
    assert "- `` `a` ``\n- `b\\n# Heading`\n" in text
    assert "<script>" not in text


@pytest.mark.parametrize(
    ("text", "shown"), [("a", "`a`"), ("a`b", "`` a`b ``"), ("``", "``` `` ```"), ("a\nb", "`a\\nb`"), (" ", "`   `")]
)
def test_any_text_can_be_formatted_as_a_code_span(text: str, shown: str) -> None:
    assert format_code_span(text) == shown
    assert format_code_block(text).splitlines()[0].strip("`") == "text"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A tiny model in a folder, with room for the longest response that the commands write."""
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    tokenizer = deepcopy(tiny_tokenizer())
    tokenizer.chat_template = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    config = LlamaConfig(**sizes, vocab_size=len(tokenizer), intermediate_size=40, max_position_embeddings=512)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning")  # of peft, about its own call
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("origin", [BaseModelSource.BUNDLED, BaseModelSource.FOLDER])
def test_all_code_of_a_card_runs_for_every_task(
    hub: FakeHub, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, origin: BaseModelSource
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("softprompt.model.model_files.unpack_bundled_model", lambda _: base)
    model = load_model(str(base))
    if origin is BaseModelSource.BUNDLED:
        model.name = "smollm2-135m"
    method = {"name": "prompt", "init": "text"}
    virtual = random_embeddings(model, 3, seed=0)
    saved = SavedPrompt.from_payload(model, virtual, TASKS[task], method=method, trained_parameters=72)
    push_to_hub(saved, NAME)
    row = dict.fromkeys(("one", "two", "question", "context"), "a") | {"output": "yes"}
    (tmp_path / "examples.jsonl").write_text("".join(json.dumps(row | {"label": n}) + "\n" for n in ("0", "1")))
    run_code(hub, base)


def run_code(hub: FakeHub, base: Path) -> None:
    """Run every command and every block of Python of the card on the Hub."""
    text = hub.repositories[NAME].files["README.md"].decode().replace("FOLDER", str(base))
    for language, code in re.findall(r"^```(sh|python)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language == "python":
            exec(compile(code, "the card", "exec"), {})
            continue
        for line in code.splitlines():
            assert run_cli(shlex.split(line)[1:]) == 0, line


def in_folder(family: str, folder: Path) -> FrozenModel:
    """A tiny model of the family, saved in a folder and loaded from there."""
    made = tiny_model(family)
    made.network.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    return load_model(str(folder))


def ran_with_peft(saved: SavedPrompt, base: Path) -> dict[str, Any]:
    """The names that the card's code for peft leaves behind, with the prompt in a folder beside the base."""
    saved.save_to(base.parent / "p", overwrite=True)
    text = build_model_card(saved, str(base.parent / "p"), BaseModelSource.FOLDER).replace("FOLDER", str(base))
    code = text.rpartition("```python\n")[2].partition("```")[0]
    assert "PeftModel" in code
    names: dict[str, Any] = {}
    exec(compile(code, "the card", "exec"), names)
    return names


#: Labels whose first tokens differ, behind a space and without one. Each prompt has other ones, as a random model says
#: the same behind most prompts.
TOLD_APART = [
    ("the", "was", "great", "name", "plot"),
    ("lovely", "bad", "food", "rice", "its"),
    ("a", "good", "tea", "ending", "scene"),
]

#: What peft cannot express, so that the card has no code for it.
REFUSED = [("t5", random_prefix), ("bart", random_prefix)]


@pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning")  # of peft, about its own call
@pytest.mark.parametrize("made", [random_embeddings, random_prefix])
@pytest.mark.parametrize("family", ["llama", "bert", "roberta", "t5", "bart"])
def test_the_cards_peft_code_predicts_the_same_label_as_softprompt(
    family: str, made: Callable[..., Payload], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = in_folder(family, tmp_path / "base")
    for seed, labels in enumerate(TOLD_APART):
        task = ClassificationTask(labels=labels, words={labels[1]: "bore"}, template=template_for(family))
        payload, method = made(model, 3, seed=seed), {"name": "prompt"}
        saved = SavedPrompt.from_payload(model, payload, task, method=method, trained_parameters=72)
        assert (saved.peft_incompatibility is None) == ((family, made) not in REFUSED)
        if saved.peft_incompatibility is None:
            [ours] = softprompt.classify(model, saved, ["a text"])
            found = ran_with_peft(saved, tmp_path / "base")["label_logits"]
            assert capsys.readouterr().out.strip() == ours.label
            probabilities = torch.tensor(list(found.values())).softmax(dim=0)
            torch.testing.assert_close(
                probabilities, torch.tensor(list(ours.probabilities.values())), atol=1e-4, rtol=0
            )


@pytest.mark.parametrize("family", ["bert", "t5", "bart"])
def test_all_code_of_a_card_runs_for_masked_and_encoder_decoder_models(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    monkeypatch.chdir(tmp_path)
    model = in_folder(family, tmp_path / "base")
    task = ClassificationTask(labels=("good", "bad"), template=template_for(family))
    virtual = random_embeddings(model, 3, seed=0)
    push_to_hub(SavedPrompt.from_payload(model, virtual, task, method={"name": "prompt"}, trained_parameters=72), NAME)
    run_code(hub, tmp_path / "base")


@pytest.mark.parametrize(("family", "most"), [("t5", 40), ("bart", 39)])  # transformers has BART end with the last
def test_the_cards_peft_code_generates_the_same_text_with_an_encoder_decoder(
    family: str, most: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # transformers writes with as many layers in the decoder as in the encoder, or fails
    monkeypatch.setattr(ENCODER_DECODER_CONFIGS["t5"], "num_decoder_layers", 2)
    model = in_folder(family, tmp_path / "base")
    virtual, method = random_embeddings(model, 3, seed=0), {"name": "prompt"}
    saved = SavedPrompt.from_payload(model, virtual, GenerationTask(), method=method, trained_parameters=72)
    ours = "".join(softprompt.respond(model, saved, "a text", SamplingParams(max_new_tokens=most)))
    ran_with_peft(saved, tmp_path / "base")
    assert capsys.readouterr().out.strip() == ours.strip()


@pytest.mark.parametrize(
    ("family", "template", "words"),
    [
        ("llama", "{text}\nLabel:", "from the last token."),
        ("bert", "{text} so [MASK] .", "from the mask token."),
        ("bert", "{text}", "from the first token."),
        ("t5", "{text}\nLabel:", "from the first token of the decoder."),
    ],
)
def test_the_card_states_the_token_from_which_a_linear_head_predicts(family: str, template: str, words: str) -> None:
    saved = make(model=shared_model(family), head=random_head(shared_model(family)))
    text = build_model_card(
        about(ClassificationTask(labels=("good", "bad"), template=template), saved), NAME, BaseModelSource.HUB
    )
    assert f"A trained linear head predicts the label {words}" in text


def test_the_card_of_a_masked_generation_prompt_shows_no_code() -> None:
    text = build_model_card(about(GenerationTask(), make(model=shared_model("bert"))), NAME, BaseModelSource.HUB)
    assert "is a masked language model and cannot generate text" in text
    assert "PeftModel" not in text
