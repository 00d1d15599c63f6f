"""`softprompt show`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from softprompt.model import FrozenModel, Payload, PromptEmbeddings, load_model
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask
from tests.cli.conftest import Softprompt

WORDS = (" great", " bore", " film")


def made(folder: Path, model: FrozenModel, payload: Payload, template: str = "{text}\nLabel:") -> Path:
    task = ClassificationTask(labels=("good", "bad"), template=template)
    SavedPrompt.from_payload(model, payload, task, method={"name": "prompt"}, trained_parameters=99).save_to(folder)
    return folder


def words(model: FrozenModel) -> PromptEmbeddings:
    """Make a prompt whose virtual tokens are the embeddings of words."""
    ids = [token for word in WORDS for token in model.prompt_tokenizer.tokenize(word)]
    assert len(ids) == len(WORDS)
    return PromptEmbeddings(model.embed_tokens(torch.tensor([ids]))[0])


def test_show_lists_the_facts_of_a_prefix(softprompt: Softprompt, classifier: Path, base: Path) -> None:
    facts: dict[str, Any] = softprompt("show", classifier, "--json").json
    manifest = SavedPrompt.from_folder(classifier).manifest
    assert facts["method"] == "prefix"
    assert facts["settings"]["init"] == "text"
    assert (facts["num_virtual_tokens"], facts["payload"], facts["placement"]) == (3, "prefix", "before")
    assert facts["parameters"] == facts["trained_parameters"] == 3 * 2 * 2 * 3 * 6
    assert facts["share_of_base"] == pytest.approx(216 / manifest.base.num_parameters)
    assert facts["base_model"]["name"] == str(base)
    assert facts["base_model"]["fingerprint"] == manifest.base.fingerprint
    assert facts["task"]["labels"] == ["bad", "good"]
    assert facts["metrics"]["validation"].keys() == {"accuracy", "macro_f1", "loss"}
    assert facts["peft_incompatibility"] is None
    assert facts["content_hash"] == manifest.content_hash
    assert facts["versions"].keys() == {"softprompt", "torch", "transformers"}


def test_the_nearest_token_of_a_words_embedding_is_the_word(softprompt: Softprompt, base: Path, tmp_path: Path) -> None:
    model = load_model(str(base))
    found = softprompt("show", made(tmp_path / "p", model, words(model)), "--json").json["nearest_tokens"]
    assert [each["virtual_token"] for each in found] == [0, 1, 2]
    for each, word in zip(found, WORDS, strict=True):
        assert each["tokens"][0] == word
        assert each["distances"][0] == pytest.approx(0, abs=1e-3)
        assert len(each["tokens"]) == len(each["distances"]) == 3
        assert each["distances"] == sorted(each["distances"])
        assert each["distances"][1] > 0.01


@pytest.mark.parametrize("placement", ["before", "after-bos"])
def test_the_nearest_token_of_a_words_keys_and_values_is_the_word(
    softprompt: Softprompt, base: Path, tmp_path: Path, placement: str
) -> None:
    model = load_model(str(base))
    embeddings = words(model)
    embeddings = type(embeddings)(embeddings.tensor, placement=type(embeddings.placement)(placement))
    prompt = made(tmp_path / "p", model, model.compile_payload(embeddings))
    found = softprompt("show", prompt, "--json").json
    assert found["payload"] == "prefix"
    assert [each["tokens"][0] for each in found["nearest_tokens"]] == list(WORDS)
    assert [each["distances"][0] for each in found["nearest_tokens"]] == pytest.approx([0, 0, 0], abs=1e-3)


def test_show_reports_why_peft_cannot_load_the_prompt(softprompt: Softprompt, base: Path, tmp_path: Path) -> None:
    model = load_model(str(base))
    embeddings = words(model)
    after = type(embeddings)(embeddings.tensor, placement=type(embeddings.placement)("after-text"))
    prompt = made(tmp_path / "p", model, after)
    assert softprompt("show", prompt, "--json").json["peft_incompatibility"].startswith("virtual tokens after-text")
    assert "peft compatible no: virtual tokens after-text" in " ".join(softprompt("show", prompt).out.split())


def test_show_prints_a_table(softprompt: Softprompt, classifier: Path) -> None:
    out = " ".join(softprompt("show", classifier).out.split())
    for words in ("method prefix (prefix, before)", "virtual tokens 3", "216 trained", "bad, good", "accuracy"):
        assert words in out
    assert "nearest in the vocabulary" in out


def test_show_prints_template_and_perplexity_of_a_generation_prompt(softprompt: Softprompt, writer: Path) -> None:
    out = " ".join(softprompt("show", writer).out.split())
    assert "task generation: '{input}\\n' validation perplexity" in out


def test_show_without_neighbors_does_not_need_the_base_model(
    softprompt: Softprompt, base: Path, tmp_path: Path
) -> None:
    link = tmp_path / "base"
    link.symlink_to(base)
    model = load_model(str(link))
    prompt = made(tmp_path / "p", model, words(model))
    link.unlink()
    assert softprompt("show", prompt, "--no-neighbors", "--json").json["nearest_tokens"] == []
    softprompt("show", prompt).refused("no folder", str(link))


def test_show_prints_a_template_with_markup_unchanged(softprompt: Softprompt, base: Path, tmp_path: Path) -> None:
    model = load_model(str(base))
    prompt = made(tmp_path / "p", model, words(model), template="[INST]{text}[/INST][bold]:smile:")
    ran = softprompt("show", prompt)
    assert ran.code == 0
    assert "[INST]{text}[/INST][bold]:smile:" in ran.out


def test_show_rejects_another_base_model(softprompt: Softprompt, classifier: Path, other_base: Path) -> None:
    softprompt("show", classifier, "--model", other_base).refused("was made for", str(other_base))


def test_show_rejects_folders_without_a_saved_prompt(softprompt: Softprompt, classifier: Path, tmp_path: Path) -> None:
    adapter = shutil.copytree(classifier, tmp_path / "adapter")
    (adapter / "softprompt.json").unlink()
    softprompt("show", tmp_path / "gone").refused("the folder does not exist")
    softprompt("show", tmp_path).refused("it has no softprompt.json")
    softprompt("show", adapter).refused("it is a peft adapter, which `softprompt import` converts")


def test_show_rejects_a_prompt_of_a_later_format(softprompt: Softprompt, classifier: Path, tmp_path: Path) -> None:
    later = shutil.copytree(classifier, tmp_path / "p")
    manifest = later / "softprompt.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 7'))
    softprompt("show", later).refused("has format 7", "upgrade softprompt")
