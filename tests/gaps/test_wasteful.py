"""Rows 15 to 19 of the table in docs/peft.md: what peft wastes or hides, one test each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

import softprompt
from softprompt.errors import SettingError
from softprompt.model import FrozenModel, KVPrefix, Placement, PromptEmbeddings
from softprompt.model.payload_batch import broadcast_prefix
from softprompt.prompts import TUNING_METHODS, PromptOptions, build_prompt
from softprompt.prompts.initializers import EMBEDDING_INITIALIZERS, InitContext, from_text
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask, EncodedExample, LabelTarget
from softprompt.training.prompt_trainable import PromptTrainable
from tests.strategies import options, random_embeddings, random_prefix
from tests.tiny import shared_model, tiny_model


@contextmanager
def calls(module: nn.Module) -> Iterator[list[tuple[int, ...]]]:
    """Record the input shapes of a module's calls."""
    shapes: list[tuple[int, ...]] = []
    handle = module.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    try:
        yield shapes
    finally:
        handle.remove()


def test_row_15_compiled_virtual_tokens_are_not_run_again() -> None:
    model = shared_model("llama")
    payload = model.compile_payload(random_embeddings(model, 6, 0))
    ids = torch.tensor([[5, 9, 77]] * 4)
    with calls(model.network.get_decoder().layers[0]) as shapes, torch.no_grad():
        for _ in range(3):
            model.compute_hidden_states(ids, torch.ones_like(ids, dtype=torch.bool), payload)
    assert [shape[:2] for shape in shapes] == [(4, 3)] * 3  # the text's 3 tokens, never 9


def test_row_15_a_prefix_is_stored_once_for_all_sequences() -> None:
    model = shared_model("llama")
    prefix = random_prefix(model, 6, 0)
    tensor, mask = broadcast_prefix(prefix, 64)
    assert tensor.data_ptr() == prefix.tensor.data_ptr()
    assert tensor.shape[2] == 1
    assert mask.shape == (64, 6)


@pytest.mark.parametrize(
    ("method", "encoder"), [("prefix", "mlp"), ("p-tuning", "mlp"), ("p-tuning", "lstm"), ("residual", "mlp")]
)
def test_row_16_an_encoder_runs_once_per_step(method: str, encoder: str) -> None:
    model = shared_model("llama")
    prompt, _ = build_prompt(PromptOptions(method, 3, encoder=encoder), model, "a film")
    objective = ClassificationTask(labels=("good", "bad")).build_objective(model, 100)
    rows = [EncodedExample([5, 9, 7, 40], LabelTarget(i % 2)) for i in range(8)]
    with calls(prompt.get_submodule("encoder")) as shapes:
        PromptTrainable(prompt).accumulate_gradients(objective, rows, 2)
    assert len(shapes) == 1
    assert shapes[0][0] == 3  # P tokens, not P per sequence


@pytest.mark.parametrize("method", TUNING_METHODS)
def test_row_17_virtual_tokens_start_from_text_by_default(method: str) -> None:
    _, used = build_prompt(options(method, 4), shared_model("llama"), "the film was great")
    assert "text 'the film was great" in used


def request(model: FrozenModel, P: int, argument: str) -> InitContext:
    return InitContext(model, P, Placement.BEFORE, argument, torch.Generator().manual_seed(0))


def test_row_18_the_text_initializer_describes_the_tokens_it_used() -> None:
    model = shared_model("llama")
    n = len(model.prompt_tokenizer.tokenize("the film"))
    assert from_text(request(model, n, "the film")).description == f"text 'the film' (tokens: {n})"
    assert "cut from" in from_text(request(model, 1, "the film was great")).description
    repeated = from_text(request(model, 3 * n, "the film"))
    assert "repeated to" in repeated.description
    assert "the film the film" in repeated.description


def test_row_18_the_text_initializer_uses_no_special_tokens() -> None:
    model = shared_model("llama")
    assert model.prompt_tokenizer.bos_token_id is not None
    start = from_text(request(model, 6, "the film"))
    special = model.embed_tokens(torch.tensor([[model.prompt_tokenizer.bos_token_id, model.eos_token_id]]))[0]
    assert (start.tensor.unsqueeze(1) - special.unsqueeze(0)).abs().amax(dim=2).min() > 1e-3


def test_row_18_an_empty_initial_text_is_rejected() -> None:
    with pytest.raises(SettingError, match="the initial text is empty"):
        from_text(request(shared_model("llama"), 4, ""))


def test_initial_virtual_tokens_have_the_scale_of_the_embeddings() -> None:
    model = shared_model("llama")
    for name in ("text", "vocab", "random"):
        start = EMBEDDING_INITIALIZERS[name](request(model, 64, "the film was great"))
        assert 0.5 < float(start.tensor.pow(2).mean().sqrt()) / model.embedding_rms < 2


@pytest.mark.parametrize("placement", Placement)
def test_row_19_a_prompt_with_any_placement_is_trained_saved_and_used(
    placement: Placement, reviews: Path, tmp_path: Path
) -> None:
    model = tiny_model("llama")
    tuned = softprompt.tune(
        model,
        data=reviews,
        output=tmp_path / "p",
        method="prompt",
        placement=placement,
        template="[P1] [P2] {text} [P3] so:" if placement is Placement.IN_TEMPLATE else "{text} so:",
        max_steps=2,
        batch_size=4,
        num_virtual_tokens=3,
    )
    saved = SavedPrompt.from_folder(tmp_path / "p")
    assert saved.manifest.placement is placement
    assert (saved.peft_incompatibility is None) == (placement is Placement.BEFORE)
    assert (tmp_path / "p" / "adapter_config.json").exists() == (placement is Placement.BEFORE)
    payload = saved.compile_for(model)
    reads_text = placement in (Placement.AFTER_TEXT, Placement.IN_TEMPLATE)
    assert isinstance(payload, PromptEmbeddings if reads_text else KVPrefix)
    assert payload.num_virtual_tokens == 3
    assert len(softprompt.classify(model, saved, ["the film was lovely"])) == 1
    assert tuned.steps == 2


def test_row_19_placement_after_text_puts_virtual_tokens_after_the_text() -> None:
    payload = PromptEmbeddings(torch.zeros(2, 24), Placement.AFTER_TEXT)
    assert payload.apply_to_prompt([5, 6]) == [5, 6, -1, -2]


def test_row_19_placement_after_bos_is_rejected_without_a_bos_token() -> None:
    with pytest.raises(SettingError, match="adds no BOS token"):
        build_prompt(PromptOptions("prompt", 3, placement=Placement.AFTER_BOS), shared_model("gpt2"), "a film")
