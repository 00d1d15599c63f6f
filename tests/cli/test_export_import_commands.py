"""`softprompt export` and `softprompt import`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import (
    CartridgeConfig,
    LoraConfig,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from softprompt.model import KVPrefix, load_model
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask, GenerationTask
from tests.cli.conftest import Softprompt, saved_model

IDS = torch.tensor([[5, 9, 77, 300, 12]])

CONFIGS: dict[str, PeftConfig] = {
    "prompt tuning": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    "P-tuning": PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=4, encoder_hidden_size=16),
    "prefix": PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    "cartridge": CartridgeConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
}


def adapter(folder: Path, base: Path, config: PeftConfig) -> tuple[Path, Tensor]:
    """Save an adapter with peft; return its folder and its logits in peft."""
    torch.manual_seed(0)
    wrapped = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).eval()
    wrapped.save_pretrained(str(folder))
    return folder, logits(wrapped)


@torch.no_grad()
def logits(wrapped: torch.nn.Module) -> Tensor:
    found: Tensor = wrapped(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits
    return found[:, -IDS.shape[1] :]


@torch.no_grad()
def ours(prompt: Path, base: Path) -> Tensor:
    model = load_model(str(base))
    return model.compute_logits(
        model.compute_hidden_states(
            IDS, torch.ones_like(IDS, dtype=torch.bool), SavedPrompt.from_folder(prompt).compile_for(model)
        )
    )


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("prompt", ["classifier", "writer"])
def test_peft_loads_an_exported_prompt_with_equal_logits(
    softprompt: Softprompt, base: Path, tmp_path: Path, prompt: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(prompt)
    found = softprompt("export", folder, tmp_path / "peft", "--format", "peft", "--json").json
    assert found == {
        "output": str(tmp_path / "peft"),
        "format": "peft",
        "files": ["adapter_config.json", "adapter_model.safetensors"],
    }
    assert files(tmp_path / "peft") == set(found["files"])
    wrapped = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(tmp_path / "peft")).eval()
    torch.testing.assert_close(logits(wrapped), ours(folder, base), atol=1e-4, rtol=0)


def test_export_to_a_cartridge_changes_only_the_configuration(
    softprompt: Softprompt, classifier: Path, base: Path, tmp_path: Path
) -> None:
    assert softprompt("export", classifier, tmp_path / "peft", "--format", "peft").code == 0
    found = softprompt("export", classifier, tmp_path / "cartridge", "--format", "peft-cartridge", "--json").json
    assert (found["format"], set(found["files"])) == ("peft-cartridge", files(tmp_path / "peft"))
    weights = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("peft", "cartridge")]
    assert weights[0] == weights[1]
    kinds = [PeftConfig.from_pretrained(str(tmp_path / name)).peft_type.value for name in ("peft", "cartridge")]
    assert kinds == ["PREFIX_TUNING", "CARTRIDGE"]
    network = AutoModelForCausalLM.from_pretrained(base)
    wrapped = PeftModel.from_pretrained(network, str(tmp_path / "cartridge")).eval()
    torch.testing.assert_close(logits(wrapped), ours(classifier, base), atol=1e-4, rtol=0)


def test_export_of_embeddings_to_a_cartridge_is_rejected_and_possible_once_compiled(
    softprompt: Softprompt, writer: Path, tmp_path: Path
) -> None:
    options = ["--format", "peft-cartridge"]
    softprompt("export", writer, tmp_path / "peft", *options).refused("holds embeddings", "--format prefix")
    assert not (tmp_path / "peft").exists()
    assert softprompt("export", writer, tmp_path / "prefix", "--format", "prefix").code == 0
    assert softprompt("export", tmp_path / "prefix", tmp_path / "peft", *options).code == 0


def test_export_as_a_prefix_has_equal_logits(softprompt: Softprompt, writer: Path, base: Path, tmp_path: Path) -> None:
    found = softprompt("export", writer, tmp_path / "prefix", "--format", "prefix", "--json").json
    assert found["format"] == "prefix"
    assert files(tmp_path / "prefix") == set(found["files"])
    saved = SavedPrompt.from_folder(tmp_path / "prefix")
    assert isinstance(saved.payload, KVPrefix)
    assert saved.manifest.task == SavedPrompt.from_folder(writer).manifest.task
    torch.testing.assert_close(ours(tmp_path / "prefix", base), ours(writer, base), atol=1e-4, rtol=0)


def test_transformers_generates_the_same_response_from_exported_prompt_embeds(
    softprompt: Softprompt, writer: Path, base: Path, tmp_path: Path
) -> None:
    options = ["--format", "prompt-embeds", "--text", "food: rice", "--max-new-tokens", 8]
    found = softprompt("export", writer, tmp_path / "row", *options, "--json").json
    assert found["files"] == ["prompt_embeds.safetensors"]
    row = load_file(tmp_path / "row" / "prompt_embeds.safetensors")["prompt_embeds"]
    network = AutoModelForCausalLM.from_pretrained(base)
    written = network.generate(inputs_embeds=row.unsqueeze(0), max_new_tokens=8, do_sample=False)[0]
    tokenizer = AutoTokenizer.from_pretrained(base)
    own = softprompt("generate", writer, "--prompt", "food: rice", "--max-new-tokens", 8, "--json").json
    assert tokenizer.decode(written, skip_special_tokens=True).strip() == own["response"]
    softprompt("export", writer, tmp_path / "row", *options).refused("row exists", "--overwrite")
    assert softprompt("export", writer, tmp_path / "row", *options, "--overwrite").code == 0


@pytest.mark.parametrize("options", [["--format", "prompt-embeds"], ["--format", "prefix", "--text", "rice"]])
def test_export_requires_a_text_exactly_for_the_prompt_embeds_format(
    softprompt: Softprompt, writer: Path, tmp_path: Path, options: list[str]
) -> None:
    softprompt("export", writer, tmp_path / "row", *options).refused("--text and --format prompt-embeds")
    assert not (tmp_path / "row").exists()


def test_export_prints_the_destination(softprompt: Softprompt, writer: Path, tmp_path: Path) -> None:
    ran = softprompt("export", writer, tmp_path / "[/peft]", "--format", "peft")
    assert ran.code == 0
    assert f"to {tmp_path}/[/peft]." in ran.out.replace("\n", "")


def test_export_to_peft_rejects_prompts_that_peft_cannot_express(
    softprompt: Softprompt, base: Path, reviews: Path, tmp_path: Path
) -> None:
    options = ["--model", base, "--data", reviews, "--max-steps", 1, "--num-virtual-tokens", 2]
    for name, option in (("bos", ["--placement", "after-bos"]), ("head", ["--head", "linear"])):
        assert softprompt("tune", *options, "--output", tmp_path / name, *option).code == 0
        ran = softprompt("export", tmp_path / name, tmp_path / "peft", "--format", "peft")
        ran.refused("peft cannot express", "after-bos" if name == "bos" else "linear head")
        assert not (tmp_path / "peft").exists()
        assert softprompt("export", tmp_path / name, tmp_path / f"{name}-prefix", "--format", "prefix").code == 0


@pytest.mark.parametrize("format_", ["peft", "prefix"])
def test_export_replaces_an_existing_prompt_only_with_overwrite(
    softprompt: Softprompt, writer: Path, classifier: Path, tmp_path: Path, format_: str
) -> None:
    taken = shutil.copytree(classifier, tmp_path / "p")
    before = {path.name: path.read_bytes() for path in taken.iterdir()}
    softprompt("export", writer, taken, "--format", format_).refused("p exists", "--overwrite")
    assert {path.name: path.read_bytes() for path in taken.iterdir()} == before
    assert softprompt("export", writer, taken, "--format", format_, "--overwrite").code == 0
    assert {path.name: path.read_bytes() for path in taken.iterdir()} != before


def test_export_never_replaces_a_folder_that_is_not_a_saved_prompt(
    softprompt: Softprompt, writer: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").touch()
    ran = softprompt("export", writer, tmp_path / "photos", "--format", "peft", "--overwrite")
    ran.refused("photos exists and is not a saved prompt")
    assert files(tmp_path / "photos") == {"one.jpg"}


def test_export_rejects_an_unknown_format(softprompt: Softprompt, writer: Path, tmp_path: Path) -> None:
    softprompt("export", writer, tmp_path / "p", "--format", "onnx").refused(
        "onnx", "peft, peft-cartridge, prefix or prompt-embeds"
    )
    assert not (tmp_path / "p").exists()


def test_export_as_a_prefix_rejects_another_base_model(
    softprompt: Softprompt, writer: Path, other_base: Path, tmp_path: Path
) -> None:
    ran = softprompt("export", writer, tmp_path / "p", "--format", "prefix", "--model", other_base)
    ran.refused("was made for", str(other_base))
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("name", CONFIGS)
def test_import_of_a_peft_adapter_has_equal_logits(
    softprompt: Softprompt, base: Path, tmp_path: Path, name: str
) -> None:
    folder, theirs = adapter(tmp_path / "peft", base, CONFIGS[name])
    found = softprompt("import", folder, tmp_path / "p", "--json").json
    kind = json.loads((folder / "adapter_config.json").read_text())["peft_type"]
    assert found == {"prompt": str(tmp_path / "p"), "method": f"peft {kind}", "num_virtual_tokens": 4}
    torch.testing.assert_close(ours(tmp_path / "p", base), theirs, atol=1e-4, rtol=0)
    assert SavedPrompt.from_folder(tmp_path / "p").manifest.task == GenerationTask()


def test_import_saves_the_template_labels_and_verbalizer_of_the_options(
    softprompt: Softprompt, base: Path, tmp_path: Path
) -> None:
    folder, _ = adapter(tmp_path / "peft", base, CONFIGS["prefix"])
    options = ["--template", r"Review: {text}\nIt is", "--labels", "0, 1", "--verbalizer", "0=bad,1=good"]
    assert softprompt("import", folder, tmp_path / "p", *options).code == 0
    task = SavedPrompt.from_folder(tmp_path / "p").manifest.task
    assert task == ClassificationTask(
        template="Review: {text}\nIt is", labels=("0", "1"), words={"0": "bad", "1": "good"}
    )
    [result] = softprompt("classify", tmp_path / "p", "a film", "--json").json["results"]
    assert set(result["probabilities"]) == {"0", "1"}


@pytest.mark.parametrize(("name", "format_"), [("prefix", "peft"), ("cartridge", "peft-cartridge")])
def test_export_of_an_imported_adapter_writes_the_same_tensors(
    softprompt: Softprompt, base: Path, tmp_path: Path, name: str, format_: str
) -> None:
    folder, theirs = adapter(tmp_path / "peft", base, CONFIGS[name])
    assert softprompt("import", folder, tmp_path / "p").code == 0
    for _ in range(2):  # the second export replaces the first one
        assert softprompt("export", tmp_path / "p", tmp_path / "again", "--format", format_, "--overwrite").code == 0
    before, after = (load_file(each / "adapter_model.safetensors") for each in (folder, tmp_path / "again"))
    assert torch.equal(before["prompt_embeddings"], after["prompt_embeddings"])
    wrapped = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(tmp_path / "again")).eval()
    assert torch.equal(logits(wrapped), theirs)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--template", "{text"], ["template '{text'"]),
        (["--template", "no field"], ["has no field"]),
        (["--labels", "good"], ["at least two different labels"]),
        (["--labels", "good,good"], ["at least two different labels"]),
        (["--labels", "good,bad", "--verbalizer", "ugly=x"], ["words for unknown labels: ugly"]),
        (["--verbalizer", "good=fine"], ["--labels"]),
        (["--labels", "good,bad", "--verbalizer", "good"], ["--verbalizer good: expected label=word"]),
        (["--model", "nowhere/at-all"], ["nowhere/at-all", "Hub cannot be reached"]),
        (["--model", "/nowhere"], ["no folder /nowhere"]),
    ],
)
def test_import_rejects_invalid_task_and_model_options(
    softprompt: Softprompt, base: Path, tmp_path: Path, options: list[str], words: list[str]
) -> None:
    folder, _ = adapter(tmp_path / "peft", base, CONFIGS["prefix"])
    softprompt("import", folder, tmp_path / "p", *options).refused(*words)
    assert not (tmp_path / "p").exists()


def test_import_rejects_lora_adapters_and_missing_folders(softprompt: Softprompt, base: Path, tmp_path: Path) -> None:
    folder, _ = adapter(tmp_path / "peft", base, LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]))
    softprompt("import", folder, tmp_path / "p").refused("type LORA", "not a soft prompt: import one of")
    softprompt("import", tmp_path / "gone", tmp_path / "p").refused("gone is not a peft adapter")
    assert not (tmp_path / "p").exists()


def test_import_rejects_an_adapter_of_another_shape(softprompt: Softprompt, base: Path, tmp_path: Path) -> None:
    folder, _ = adapter(tmp_path / "peft", base, CONFIGS["prefix"])
    config: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "peft_type": "PROMPT_TUNING"}))
    softprompt("import", folder, tmp_path / "p").refused("this model needs [P, 24]")


def test_import_of_a_cartridge_names_what_does_not_fit(softprompt: Softprompt, base: Path, tmp_path: Path) -> None:
    folder, _ = adapter(tmp_path / "peft", base, CONFIGS["cartridge"])
    larger = saved_model(tmp_path / "larger", seed=0, family="gpt2")
    softprompt("import", folder, tmp_path / "p", "--model", larger).refused("this model needs [P, 144]")
    path = folder / "adapter_config.json"
    config: dict[str, Any] = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "num_frozen_tokens": 9}))
    softprompt("import", folder, tmp_path / "p").refused("num_frozen_tokens is 9", "an integer from 0 to 4")
    path.write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").unlink()
    softprompt("import", folder, tmp_path / "p").refused("adapter_model.safetensors cannot be read")
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("name", [None, ""])
def test_import_requires_model_for_an_adapter_without_base_model_name(
    softprompt: Softprompt, base: Path, tmp_path: Path, name: str | None
) -> None:
    folder, _ = adapter(tmp_path / "peft", base, CONFIGS["prefix"])
    config: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": name}))
    softprompt("import", folder, tmp_path / "p").refused("does not name its base model: pass --model")
    assert softprompt("import", folder, tmp_path / "p", "--model", base).code == 0


def test_import_replaces_an_existing_prompt_only_with_overwrite(
    softprompt: Softprompt, base: Path, classifier: Path, tmp_path: Path
) -> None:
    folder, _ = adapter(tmp_path / "peft", base, CONFIGS["prefix"])
    taken = shutil.copytree(classifier, tmp_path / "p")
    softprompt("import", folder, taken).refused("exists", "--overwrite")
    assert SavedPrompt.from_folder(taken).manifest.method["name"] == "prefix"
    assert softprompt("import", folder, taken, "--overwrite").code == 0
    assert SavedPrompt.from_folder(taken).manifest.method["name"] == "peft PREFIX_TUNING"
