"""A saved prompt on the disk: it is read back unchanged, and invalid files are rejected."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from softprompt.data import Example
from softprompt.errors import (
    BaseModelMismatch,
    CorruptPrompt,
    NotASavedPrompt,
    OutputExists,
    PeftExportError,
    SavedPromptError,
)
from softprompt.model import FrozenModel, KVPrefix, Placement, PromptEmbeddings
from softprompt.saved import SavedPrompt
from softprompt.saved.foreign_files import PROMPT_TENSORS_FILE
from tests.saved.factories import TASK, content, forge, make, random_head
from tests.strategies import random_embeddings, random_prefix
from tests.tiny import shared_model, tiny_model

ADAPTER = "adapter_model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folder of a prompt of three embeddings."""
    make().save_to(tmp_path / "p")
    return tmp_path / "p"


def probabilities(model: FrozenModel, saved: SavedPrompt) -> torch.Tensor:
    payload = saved.compile_for(model)
    objective = saved.build_objective(model, payload)
    rows = [
        objective.encode_example(Example({"text": text, "label": "good"})) for text in ("the film was great", "a bore")
    ]
    with torch.no_grad():
        batch = objective.collate(rows, payload)
        return objective.compute_outputs(objective.forward_batch(batch, payload), batch)


def test_a_loaded_prompt_equals_the_saved_one(tmp_path: Path) -> None:
    made = make()
    made.save_to(tmp_path / "p")
    found = SavedPrompt.from_folder(tmp_path / "p")
    assert found.manifest == made.manifest
    assert found.files == made.files
    assert torch.equal(found.payload.tensor, made.payload.tensor)
    assert found.head is None


def test_a_prefix_and_a_linear_head_are_loaded_unchanged(tmp_path: Path) -> None:
    model = shared_model("llama")
    made = make(random_prefix(model, 4, seed=2), head=random_head(model))
    made.save_to(tmp_path / "p")
    found = SavedPrompt.from_folder(tmp_path / "p")
    assert isinstance(found.payload, KVPrefix)
    assert torch.equal(found.payload.tensor, made.payload.tensor)
    assert found.head is not None
    assert made.head is not None
    assert all(torch.equal(found.head[name], made.head[name]) for name in ("weight", "bias"))


def test_saving_a_loaded_prompt_writes_the_same_files(folder: Path, tmp_path: Path) -> None:
    SavedPrompt.from_folder(folder).save_to(tmp_path / "copy")
    assert content(tmp_path / "copy") == content(folder)


def test_equal_prompts_have_equal_files() -> None:
    assert make().files == make().files


@pytest.mark.parametrize("placement", [Placement.AFTER_BOS, Placement.AFTER_TEXT])
def test_the_placement_is_loaded_unchanged(tmp_path: Path, placement: Placement) -> None:
    make(random_embeddings(shared_model("llama"), 3, 0, placement)).save_to(tmp_path / "p")
    assert SavedPrompt.from_folder(tmp_path / "p").payload.placement is placement


def test_prompts_that_peft_cannot_express_are_not_saved_as_peft_adapters(tmp_path: Path) -> None:
    model = shared_model("llama")
    after_bos = make(random_embeddings(model, 3, 0, Placement.AFTER_BOS))
    headed = make(head=random_head(model))
    for name, saved, reason in (("bos", after_bos, "after-bos"), ("head", headed, "linear head")):
        saved.save_to(tmp_path / name)
        assert set(content(tmp_path / name)) == {"softprompt.json", PROMPT_TENSORS_FILE}
        assert saved.peft_incompatibility is not None
        assert reason in saved.peft_incompatibility


def test_prompts_that_peft_can_express_are_saved_as_peft_adapters(folder: Path) -> None:
    assert set(content(folder)) == {"softprompt.json", "adapter_config.json", ADAPTER}
    assert SavedPrompt.from_folder(folder).peft_incompatibility is None


def test_num_parameters_counts_the_payload_and_the_head() -> None:
    model = shared_model("llama")
    assert make().num_parameters == 3 * 24
    assert make(head=random_head(model)).num_parameters == 3 * 24 + 2 * 24 + 2
    assert make(random_prefix(model, 5, seed=0)).num_parameters == 3 * 2 * 2 * 5 * 6


# Invalid files


def test_a_truncated_tensor_file_is_rejected(folder: Path) -> None:
    whole = (folder / ADAPTER).read_bytes()
    for length in range(0, len(whole), 7):
        (folder / ADAPTER).write_bytes(whole[:length])
        with pytest.raises(CorruptPrompt, match="truncated or changed"):
            SavedPrompt.from_folder(folder)


@pytest.mark.parametrize("bit", [1, 0x20, 0x80])
def test_a_flipped_bit_in_the_tensor_file_is_detected(folder: Path, bit: int) -> None:
    whole = (folder / ADAPTER).read_bytes()
    for at in range(0, len(whole), 5):
        (folder / ADAPTER).write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
        with pytest.raises(CorruptPrompt, match="truncated or changed"):
            SavedPrompt.from_folder(folder)


@pytest.mark.parametrize("bit", [1, 0x20, 0x80])
def test_a_flipped_bit_in_the_manifest_is_detected(folder: Path, bit: int) -> None:
    path = folder / "softprompt.json"
    whole = path.read_bytes()
    for at in range(bit % 7, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
        with pytest.raises(SavedPromptError):
            SavedPrompt.from_folder(folder)


@pytest.mark.parametrize("name", [ADAPTER, "adapter_config.json"])
def test_the_error_of_a_missing_file_names_the_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CorruptPrompt, match=f"{name} cannot be read"):
        SavedPrompt.from_folder(folder)


def test_a_truncated_tensor_file_with_the_right_hash_is_rejected(folder: Path) -> None:
    whole = (folder / ADAPTER).read_bytes()
    for length in (0, 7, 8, 40, len(whole) - 1):
        forge(folder, whole[:length])
        with pytest.raises(CorruptPrompt, match="not a valid safetensors file"):
            SavedPrompt.from_folder(folder)


def test_a_tensor_file_whose_header_exceeds_its_data_is_rejected(folder: Path) -> None:
    header = json.dumps({"prompt_embeddings": {"dtype": "F32", "shape": [3, 24], "data_offsets": [0, 288]}}).encode()
    for claimed in (len(header), 2**40, 2**63):
        forge(folder, struct.pack("<Q", claimed) + header + b"\0" * 12)
        with pytest.raises(CorruptPrompt, match="not a valid safetensors file"):
            SavedPrompt.from_folder(folder)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_numbers_with_the_right_hash_are_rejected(folder: Path, number: float) -> None:
    rows = torch.ones(3, 24)
    rows[1, 7] = number
    forge(folder, {"prompt_embeddings": rows})
    with pytest.raises(CorruptPrompt, match="prompt_embeddings contains NaN or infinite values"):
        SavedPrompt.from_folder(folder)


@pytest.mark.parametrize("shape", [(3, 25), (3, 23), (0, 24), (72,), (3, 24, 1), ()])
def test_wrong_shapes_with_the_right_hash_are_rejected(folder: Path, shape: tuple[int, ...]) -> None:
    forge(folder, {"prompt_embeddings": torch.ones(shape)})
    with pytest.raises(CorruptPrompt, match=r"prompt_embeddings has the shape .*, but this model needs \[P, 24\]"):
        SavedPrompt.from_folder(folder)


def test_a_wrong_number_of_virtual_tokens_with_the_right_hash_is_rejected(folder: Path) -> None:
    forge(folder, {"prompt_embeddings": torch.ones(4, 24)})
    with pytest.raises(CorruptPrompt, match="holds 4 virtual tokens, the manifest says 3"):
        SavedPrompt.from_folder(folder)


def test_embeddings_that_the_manifest_describes_as_a_prefix_are_rejected(folder: Path) -> None:
    forge(folder, payload="prefix")
    with pytest.raises(CorruptPrompt, match=r"this model needs \[P, 72\]"):
        SavedPrompt.from_folder(folder)


def test_a_tensor_file_without_a_prompt_with_the_right_hash_is_rejected(folder: Path) -> None:
    forge(folder, {"prompt": torch.ones(3, 24)})
    with pytest.raises(CorruptPrompt, match="has no 'prompt_embeddings'"):
        SavedPrompt.from_folder(folder)


def test_compiling_a_prompt_with_other_sizes_than_the_base_model_is_rejected(folder: Path) -> None:
    """The sizes are consistent, and the fingerprint matches, but the model has other sizes."""
    base = SavedPrompt.from_folder(folder).manifest.base
    wider = base.model_copy(update={"shape": replace(base.shape, embedding_size=48)})
    forge(folder, {"prompt_embeddings": torch.ones(3, 48)}, base=wider)
    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace('"token_dim": 24', '"token_dim": 48'))
    with pytest.raises(CorruptPrompt, match="shape does not match tiny-llama-0"):
        SavedPrompt.from_folder(folder).compile_for(shared_model("llama"))


def test_a_changed_peft_configuration_is_rejected(folder: Path) -> None:
    """No hash covers it, and peft would read the same numbers as another prompt."""
    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace('"num_virtual_tokens": 3', '"num_virtual_tokens": 2'))
    with pytest.raises(CorruptPrompt, match=r"adapter_config\.json was changed"):
        SavedPrompt.from_folder(folder)


@pytest.mark.parametrize(
    "head",
    [
        {"head.weight": torch.ones(3, 24), "head.bias": torch.ones(3)},
        {"head.weight": torch.ones(2, 25), "head.bias": torch.ones(2)},
        {"head.weight": torch.ones(2, 24)},
        {"head.weight": torch.ones(2, 24), "head.bias": torch.ones(2), "head.scale": torch.ones(1)},
        {"head.weight": torch.ones(24, 2), "head.bias": torch.ones(2)},
    ],
)
def test_a_linear_head_of_the_wrong_shape_is_rejected(tmp_path: Path, head: dict[str, torch.Tensor]) -> None:
    model = shared_model("llama")
    make(head=random_head(model)).save_to(tmp_path / "p")
    forge(tmp_path / "p", {"prompt_embeddings": torch.ones(3, 24), **head})
    with pytest.raises(CorruptPrompt, match="the shape of the head does not match 2 labels"):
        SavedPrompt.from_folder(tmp_path / "p")


def test_the_error_of_loading_a_peft_adapter_recommends_softprompt_import(folder: Path) -> None:
    (folder / "softprompt.json").unlink()
    with pytest.raises(NotASavedPrompt, match="peft adapter, which `softprompt import` converts"):
        SavedPrompt.from_folder(folder)


# Output folders


def test_saving_to_an_existing_prompt_without_overwrite_is_rejected(folder: Path) -> None:
    before = content(folder)
    with pytest.raises(OutputExists, match="`overwrite=True`"):
        make(method="another").save_to(folder)
    assert content(folder) == before


def test_saving_with_overwrite_replaces_an_existing_prompt(folder: Path, tmp_path: Path) -> None:
    headed = make(head=random_head(shared_model("llama")))
    headed.save_to(folder, overwrite=True)
    assert content(folder) == headed.files
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_saving_never_overwrites_a_folder_that_is_not_a_saved_prompt(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_bytes(b"a picture")
    with pytest.raises(OutputExists, match="is not a saved prompt, so it is not overwritten"):
        make().save_to(tmp_path / "photos", overwrite=True)
    assert content(tmp_path / "photos") == {"one.jpg": b"a picture"}


def test_saving_never_overwrites_a_file(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("a note")
    with pytest.raises(OutputExists, match="is not a saved prompt"):
        make().save_to(tmp_path / "notes", overwrite=True)
    assert (tmp_path / "notes").read_text() == "a note"


def test_saving_with_overwrite_writes_into_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    make().save_to(tmp_path / "p", overwrite=True)
    assert content(tmp_path / "p") == make().files


# Base models and tasks


def test_the_error_of_another_base_model_names_both_models_and_fingerprints(folder: Path) -> None:
    mine, other = shared_model("llama"), tiny_model("llama", seed=9)
    with pytest.raises(BaseModelMismatch) as caught:
        SavedPrompt.from_folder(folder).compile_for(other)
    for word in (mine.name, mine.fingerprint, other.name, other.fingerprint):
        assert word in str(caught.value)


def test_a_prompt_compiles_for_its_base_model_under_another_name(folder: Path) -> None:
    again = tiny_model("llama")
    again.name = "moved/elsewhere"
    assert SavedPrompt.from_folder(folder).compile_for(again).num_virtual_tokens == 3


@pytest.mark.parametrize("with_head", [False, True])
@pytest.mark.parametrize("placement", [Placement.BEFORE, Placement.AFTER_BOS])
def test_embeddings_saved_as_a_prefix_give_the_same_probabilities(
    tmp_path: Path, placement: Placement, with_head: bool
) -> None:
    model = shared_model("llama")
    head = random_head(model) if with_head else None
    original = make(random_embeddings(model, 3, 4, placement), head=head)
    original.to_prefix(model).save_to(tmp_path / "p")
    compiled = SavedPrompt.from_folder(tmp_path / "p")
    assert isinstance(compiled.payload, KVPrefix)
    assert compiled.payload.tensor.shape == model.shape.get_prefix_shape(3 + (placement is Placement.AFTER_BOS))
    assert compiled.manifest.num_virtual_tokens == 3
    assert torch.equal(probabilities(model, compiled), probabilities(model, original))
    for field in ("method", "task", "metrics", "base", "placement", "trained_parameters"):
        assert getattr(compiled.manifest, field) == getattr(original.manifest, field)


@pytest.mark.parametrize("placement", [Placement.AFTER_TEXT, Placement.IN_TEMPLATE])
def test_converting_prompts_after_or_in_the_text_to_a_prefix_is_rejected(placement: Placement) -> None:
    model = shared_model("llama")
    original = make(random_embeddings(model, 3, 4, placement))
    assert isinstance(original.compile_for(model), PromptEmbeddings)
    with pytest.raises(PeftExportError, match="attend to the text"):
        original.to_prefix(model)


def test_texts_are_truncated_to_the_window_without_the_virtual_tokens() -> None:
    model = shared_model("llama")
    saved = make(random_embeddings(model, 100, seed=0))
    row = saved.build_objective(model, saved.compile_for(model)).encode_example(
        Example({"text": "scene " * 60, "label": "good"})
    )
    assert 26 <= len(row.prompt_ids) <= 28
    assert saved.build_objective(model, None).encode_example(Example({"text": "scene " * 60, "label": "good"})) != row


def test_a_loaded_prompt_has_the_task_of_the_saved_one(folder: Path) -> None:
    assert SavedPrompt.from_folder(folder).manifest.task == TASK
