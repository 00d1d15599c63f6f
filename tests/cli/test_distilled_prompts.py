"""What other commands do with the prompts of `softprompt distil`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from softprompt.saved import SavedPrompt
from tests.chat_templates import WITH_DEFAULT_SYSTEM, chat_model
from tests.cli.conftest import (
    DISTILLED_TEXT,
    Distil,
    Softprompt,
    WriteJsonl,
)
from tests.conftest import REVIEWS


@pytest.fixture
def exact(softprompt: Softprompt, chat_base: Path, instruction: Path, output: Path) -> Path:
    """Exact form of a system message."""
    options = ("--context", instruction, "--num-virtual-tokens", "all", "--output", output)
    assert softprompt("distil", "--model", chat_base, *options).code == 0
    return output


def test_show_names_the_text(softprompt: Softprompt, exact: Path, instruction: Path) -> None:
    shown = softprompt("show", exact, "--no-neighbors").out
    assert "distilled from context text.txt," in " ".join(shown.split())
    source = softprompt("show", exact, "--no-neighbors", "--json").json["settings"]["source"]
    assert (source["kind"], source["path"]) == ("context", str(instruction))


def test_generate_behind_the_exact_form_equals_generate_with_the_system_message(
    softprompt: Softprompt, exact: Path, chat_base: Path
) -> None:
    model = chat_model(WITH_DEFAULT_SYSTEM)
    chat = [{"role": "system", "content": DISTILLED_TEXT}, {"role": "user", "content": "food: tea"}]
    text = model.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    ids = model.tokenizer(text, add_special_tokens=False, return_tensors="pt")
    written = model.network.generate(**ids, max_new_tokens=6, do_sample=False)[0, ids.input_ids.shape[1] :]
    expected = model.tokenizer.decode(written, skip_special_tokens=True).strip()
    found = softprompt("generate", exact, "--prompt", "food: tea", "--max-new-tokens", 6)
    assert found.code == 0
    assert found.out.strip() == expected


def test_classify_and_evaluate_a_distilled_classifier(
    distil: Distil, softprompt: Softprompt, reviews: Path, output: Path
) -> None:
    assert distil("--labels", "good,bad", "--force", data=reviews).code == 0
    assert softprompt("classify", output, "the film was fun").code == 0
    assert softprompt("evaluate", output, "--data", reviews, "--json").code == 0


def test_few_shot_examples_become_a_classifier(
    distil: Distil, write_jsonl: WriteJsonl, reviews: Path, output: Path
) -> None:
    shots = write_jsonl("shots.jsonl", REVIEWS[:4])
    assert distil("--force", source=("--examples", shots), data=reviews).code == 0
    manifest = SavedPrompt.from_folder(output).manifest
    assert manifest.task.labels == ("bad", "good")
    assert manifest.method["source"]["kind"] == "examples"


def test_tuning_starts_from_an_exact_form_with_its_system_message(
    softprompt: Softprompt, exact: Path, chat_base: Path, write_jsonl: WriteJsonl
) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "fun"}]
    data, tuned = write_jsonl("chats.jsonl", [{"messages": turns}] * 3), exact.with_name("tuned")
    size = SavedPrompt.from_folder(exact).manifest.num_virtual_tokens
    options = ("--init", f"prompt:{exact}", "--num-virtual-tokens", size, "--max-steps", 1, "--output", tuned)
    assert softprompt("tune", "--model", chat_base, "--data", data, *options).code == 0
    assert SavedPrompt.from_folder(tuned).manifest.task == SavedPrompt.from_folder(exact).manifest.task


def test_a_distilled_prompt_is_exported(softprompt: Softprompt, exact: Path, tmp_path: Path) -> None:
    assert softprompt("export", exact, tmp_path / "adapter", "--format", "peft").code == 0
    assert (tmp_path / "adapter" / "adapter_config.json").is_file()


def test_composing_distilled_prompts_warns(softprompt: Softprompt, exact: Path) -> None:
    ran = softprompt("compose", exact, exact, "--output", exact.with_name("composed"))
    assert ran.code == 0
    assert "prompts that were distilled apart do not add up" in ran.err


def test_the_manifest_of_a_distilled_chat_names_the_source_of_its_system_message(exact: Path) -> None:
    task = json.loads((exact / "softprompt.json").read_text())["task"]
    assert task == {"kind": "chat", "messages_field": "messages", "system_message": "prompt"}
