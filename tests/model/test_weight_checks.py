"""No weight of a base model is ever random: a model with missing weights is rejected, or its head is removed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import softprompt
from softprompt.engine import Engine
from softprompt.errors import IncompleteModel, ModelNotFound, SettingError
from softprompt.hf_model import SoftPromptModel
from softprompt.model import FrozenModel, ModelKind, load_meta_model, load_model
from softprompt.model.checkpoint_info import LEGACY_PARAMETER_NAMES, read_checkpoint_info
from softprompt.model.weight_checks import get_lm_head_parameters
from softprompt.saved import SavedPrompt
from tests.tiny import (
    ALL_FAMILIES,
    ENCODER_DECODER_FAMILIES,
    FAMILIES,
    KINDS,
    MASKED_FAMILIES,
    shared_model,
    template_for,
)

Tensors = dict[str, torch.Tensor]


def saved(folder: Path, family: str, change: Callable[[Tensors], Any] = lambda tensors: None) -> Path:
    """Save a tiny model and change its files."""
    model = shared_model(family)
    model.network.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def own_head(family: str) -> set[str]:
    """Return the names of the weights that only the LM head has."""
    network = shared_model(family).network
    return {
        LEGACY_PARAMETER_NAMES.get(name, name) if family == "gpt_neox" else name
        for name in get_lm_head_parameters(network)
    }


def without(names: Sequence[str]) -> Callable[[Tensors], None]:
    def drop(tensors: Tensors) -> None:
        for name in names:
            del tensors[name]

    return drop


@pytest.mark.parametrize("family", ALL_FAMILIES)
@settings(max_examples=6)
@given(data=st.data())
def test_a_missing_layer_weight_is_rejected_and_named(
    family: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = saved(tmp_path_factory.mktemp("models"), family)
    names = sorted(load_file(folder / "model.safetensors").keys() - own_head(family) - {"final_logits_bias"})
    dropped = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
    saved(folder, family, without(dropped))
    with pytest.raises(IncompleteModel, match="lack .*download them again") as refused:
        load_model(str(folder), device="cpu")
    assert any(name in str(refused.value) for name in [sorted(dropped)[0], *tied_names(family, dropped[0])])


def tied_names(family: str, name: str) -> list[str]:
    """Return all names of a parameter, of which a tied one has several; a message shows only the first three."""
    parameters = dict(shared_model(family).network.named_parameters(remove_duplicate=False))
    return [other for other, parameter in parameters.items() if parameter is parameters[name]]


WITH_OWN_HEAD = [family for family in ALL_FAMILIES if own_head(family)]


def test_some_causal_and_masked_families_have_an_untied_lm_head() -> None:
    assert {KINDS[family] for family in WITH_OWN_HEAD} == {
        ModelKind.CAUSAL,
        ModelKind.MASKED,
    }  # T5's and BART's are tied


@pytest.mark.parametrize("family", WITH_OWN_HEAD)
@settings(max_examples=4)
@given(data=st.data())
def test_a_model_without_its_lm_head_loads_reproducibly_and_computes_no_logits(
    family: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = saved(tmp_path_factory.mktemp("models"), family)
    names = sorted(own_head(family) & load_file(folder / "model.safetensors").keys())
    dropped = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    saved(folder, family, without(dropped))
    first, second = (load_model(str(folder), device="cpu") for _ in range(2))
    whole = shared_model(family)
    assert first.fingerprint == second.fingerprint != whole.fingerprint
    assert read_checkpoint_info(folder).fingerprint == first.fingerprint
    assert first.num_parameters == sum(t.numel() for t in second.network.parameters()) < whole.num_parameters
    ids = torch.tensor([whole.prompt_tokenizer.add_special_tokens([9, 17, 30])])
    hidden = first.compute_hidden_states(ids, ids >= 0)
    torch.testing.assert_close(hidden, whole.compute_hidden_states(ids, ids >= 0))
    with pytest.raises(IncompleteModel, match="lack .*p-tuning-v2"):
        first.compute_logits(hidden)


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_a_tied_lm_head_is_not_reported_missing(tmp_path: Path, family: str) -> None:
    model = load_model(str(saved(tmp_path, family)), device="cpu")
    assert model.missing_head_weights == ()
    assert model.fingerprint == shared_model(family).fingerprint == read_checkpoint_info(tmp_path).fingerprint


@pytest.mark.parametrize("family", ["gemma2", "gpt2", "bert", "t5"])
def test_a_tied_lm_head_that_is_stored_with_other_values_changes_the_fingerprint(tmp_path: Path, family: str) -> None:
    """Flan-T5 stores both with different numbers, so they are not tied."""
    network = shared_model(family).network
    words = next(name for name, each in network.named_parameters() if each is network.get_input_embeddings().weight)
    head = "cls.predictions.decoder.weight" if family == "bert" else "lm_head.weight"
    same = saved(tmp_path / "same", family, lambda tensors: tensors.update({head: tensors[words].clone()}))
    assert load_model(str(same), device="cpu").fingerprint == read_checkpoint_info(same).fingerprint
    other = saved(tmp_path / "other", family, lambda tensors: tensors.update({head: tensors[words] + 1}))
    assert load_model(str(other), device="cpu").fingerprint != shared_model(family).fingerprint
    with pytest.raises(SettingError, match="are tied by the configuration, and not in the files"):
        read_checkpoint_info(other)


def headless(folder: Path, family: str) -> FrozenModel:
    saved(folder, family, lambda tensors: [tensors.pop(name, None) for name in own_head(family)])
    return load_model(str(folder), device="cpu")


TAGS = [
    {"tokens": ["the", "film", "was", word], "tags": ["O", "NOUN", "O", "O"]} for word in ("fun", "great", "bad")
] * 8
PASSAGES = [
    {"question": "what", "context": f"the {thing} was fun", "answers": {"text": [thing], "answer_start": [4]}}
    for thing in ("film", "plot", "food", "tea")
] * 6


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "llama"])
def test_a_model_without_lm_head_is_tuned_with_a_prompt_head_and_classifies_after_reload(
    family: str, reviews: Path, tmp_path: Path
) -> None:
    model = headless(tmp_path / "model", family)
    steps: dict[str, Any] = {"num_virtual_tokens": 3, "max_steps": 2, "batch_size": 4, "method": "p-tuning-v2"}
    softprompt.tune(model, data=reviews, validation=reviews, output=tmp_path / "p", template="{text}", **steps)
    again, prompt = load_model(str(tmp_path / "model"), device="cpu"), SavedPrompt.from_folder(tmp_path / "p")
    first, second = (softprompt.classify(each, prompt, ["the film was fun"])[0] for each in (model, again))
    assert first.probabilities == second.probabilities
    from softprompt.data import read_examples

    figures = softprompt.evaluate(again, prompt, read_examples(reviews))
    assert figures["hard_prompt"] is None
    assert 0 <= figures["accuracy"] <= 1


@pytest.mark.parametrize(("task", "rows"), [("token-classification", TAGS), ("extraction", PASSAGES)])
def test_a_model_without_lm_head_is_tuned_for_token_classification_and_extraction(
    task: str, rows: list[Any], tmp_path: Path, write_jsonl: Callable[[str, Sequence[Any]], Path]
) -> None:
    data, model = write_jsonl("rows.jsonl", rows), headless(tmp_path / "model", "bert")
    tuned = softprompt.tune(
        model,
        data=data,
        validation=data,
        output=tmp_path / "p",
        task=task,
        num_virtual_tokens=3,
        max_steps=2,
        batch_size=4,
    )
    assert tuned.prompt is not None
    assert SavedPrompt.from_folder(tmp_path / "p").manifest.base.fingerprint == model.fingerprint


@pytest.mark.parametrize(
    ("family", "method"),
    [*((f, m) for f in ("bert", "electra", "llama") for m in ("prompt", "prefix")), ("llama", "context")],
)
def test_tasks_that_need_a_missing_lm_head_are_rejected_early(
    family: str, method: str, reviews: Path, tmp_path: Path
) -> None:
    model = headless(tmp_path / "model", family)
    with pytest.raises(IncompleteModel, match=r"has no (masked-)?language-modeling head: its files lack"):
        softprompt.tune(
            model, data=reviews, validation=reviews, output=tmp_path / "p", template=template_for(family), method=method
        )
    assert not (tmp_path / "p").exists()
    assert not list(tmp_path.glob("p*"))


def test_generation_without_an_lm_head_is_rejected(pairs: Path, tmp_path: Path) -> None:
    model = headless(tmp_path / "model", "llama")
    with pytest.raises(IncompleteModel):
        softprompt.tune(model, data=pairs, validation=pairs, output=tmp_path / "p")
    with pytest.raises(IncompleteModel):
        Engine(model)
    with pytest.raises(IncompleteModel):
        SoftPromptModel.from_pretrained(str(tmp_path / "model"))
    with pytest.raises(IncompleteModel):
        load_meta_model(str(tmp_path / "model"))


@pytest.mark.parametrize("family", ALL_FAMILIES)
@settings(max_examples=3)
@given(data=st.data())
def test_weights_of_other_shapes_are_rejected(
    family: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = saved(tmp_path_factory.mktemp("models"), family)
    name = data.draw(st.sampled_from(sorted(load_file(folder / "model.safetensors").keys() - {"final_logits_bias"})))

    def grow(tensors: Tensors) -> None:
        tensors[name] = torch.cat([tensors[name]] * 2)

    saved(folder, family, grow)
    with pytest.raises(IncompleteModel, match=r"not of the shapes.*\[\d+.*in the files"):
        load_model(str(folder), device="cpu")


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_more_layers_than_the_configuration_has_are_rejected(tmp_path: Path, family: str) -> None:
    def repeat(tensors: Tensors) -> None:
        layered = {name: re.sub(r"\.(\d)\.", ".9.", name, count=1) for name in tensors if re.search(r"\.\d\.", name)}
        tensors |= {new: tensors[name].clone() for name, new in layered.items()}

    with pytest.raises(IncompleteModel, match="for which its configuration has no place"):
        load_model(str(saved(tmp_path, family, repeat)), device="cpu")


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_unused_weights_of_other_heads_are_ignored_with_a_log_line(
    tmp_path: Path, family: str, caplog: pytest.LogCaptureFixture
) -> None:
    def add(tensors: Tensors) -> None:
        tensors |= {"score.weight": torch.zeros(2, 24), "pooler.dense.weight": torch.zeros(24, 24)}

    with caplog.at_level("INFO", logger="softprompt"):
        model = load_model(str(saved(tmp_path, family, add)), device="cpu")
    assert model.fingerprint == shared_model(family).fingerprint
    assert "weights that are not used: score.weight" in caplog.text
    assert "pooler" not in caplog.text


BARE = [*MASKED_FAMILIES, *(f for f in FAMILIES if not own_head(f)), *ENCODER_DECODER_FAMILIES]


@pytest.mark.parametrize("family", BARE)
def test_a_checkpoint_without_the_base_model_prefix_in_its_names_is_loaded_equally(tmp_path: Path, family: str) -> None:
    """Names in such files lack the prefix of the layers: `encoder.layer.0.…`, `h.0.…`."""
    prefix = shared_model(family).network.base_model_prefix + "."

    def strip(tensors: Tensors) -> None:
        for name in [*tensors]:
            if name.startswith(prefix):
                tensors[name.removeprefix(prefix)] = tensors.pop(name)
            elif name in own_head(family):
                del tensors[name]

    model = load_model(str(saved(tmp_path, family, strip)), device="cpu")
    assert bool(model.missing_head_weights) == bool(own_head(family))
    assert read_checkpoint_info(tmp_path).fingerprint == model.fingerprint
    ids = torch.tensor([model.prompt_tokenizer.add_special_tokens([9, 17, 30])])
    torch.testing.assert_close(
        model.compute_hidden_states(ids, ids >= 0), shared_model(family).compute_hidden_states(ids, ids >= 0)
    )


def modules(folder: Path, path: str) -> None:
    """Write the `modules.json` of sentence-transformers."""
    listed = [
        {"idx": 0, "name": "0", "path": path, "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")


@pytest.mark.parametrize("path", ["", "0_Transformer"])
def test_a_sentence_transformers_folder_is_loaded_as_a_base_model(tmp_path: Path, path: str) -> None:
    headless(tmp_path / path, "bert")
    modules(tmp_path, path)
    model = load_model(str(tmp_path), device="cpu")
    assert model.missing_head_weights
    assert model.name == str(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.9])
def test_truncated_weights_raise_model_not_found(tmp_path: Path, share: float) -> None:
    weights = saved(tmp_path, "llama") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: int(share * weights.stat().st_size)])
    with pytest.raises(ModelNotFound, match="cannot be loaded as a language model"):
        load_model(str(tmp_path), device="cpu")
