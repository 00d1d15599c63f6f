"""The same seed and parameters give the same text on the command line, in Python, in evaluation and from the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import softprompt
from softprompt.cli.main import run_cli
from softprompt.data import Example
from softprompt.evaluation.evaluate import generate_responses
from softprompt.model import FrozenModel, load_model
from softprompt.registry import PromptRegistry
from softprompt.saved import SavedPrompt
from softprompt.tasks import ChatTask
from softprompt.tasks.language_modeling_objective import LanguageModelingObjective
from tests.server.live_server import ANSWERS, Running, chatting_model, prompt_for, running

TEXT = "the film was far too long"
TASKS = {"answers": ANSWERS, "chat": ChatTask()}
COMMAND_LINE_FIELDS: list[dict[str, Any]] = [
    {},
    {"temperature": 1.0, "seed": 3},
    {"temperature": 1.5, "top_p": 0.9, "seed": 4},
    {"temperature": 0.8, "top_p": 0.95, "top_k": 40, "seed": 2**40},
]
ALL_FIELDS: list[dict[str, Any]] = [
    *COMMAND_LINE_FIELDS,
    {"temperature": 1.0, "min_p": 0.001, "seed": 5},
    {"temperature": 1.0, "presence_penalty": 0.5, "frequency_penalty": 0.5, "seed": 6},
    {"repetition_penalty": 1.5},
    {"temperature": 1.0, "logit_bias": {"99": 5.0, "100": -100.0}, "seed": 7},
    {"temperature": 1.0, "ignore_eos": True, "seed": 8},
    {"temperature": 1.2, "stop": ["e", "a"], "seed": 9},
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the base model."""
    folder, model = tmp_path_factory.mktemp("base"), chatting_model()
    model.network.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(base: Path) -> FrozenModel:
    return load_model(str(base))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, model: FrozenModel) -> dict[str, Path]:
    """Folder of a saved prompt of each task."""
    folder = tmp_path_factory.mktemp("prompts")
    for seed, (name, task) in enumerate(TASKS.items()):
        prompt_for(model, task, seed).save_to(folder / name)
    return {name: folder / name for name in TASKS}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, base: Path, folders: dict[str, Path]) -> Iterator[Running]:
    """Server with these prompts."""
    store_folder = tmp_path_factory.mktemp("served") / "store"
    with PromptRegistry.open(store_folder, create=True) as store:
        for name, folder in folders.items():
            store.register_prompt(SavedPrompt.from_folder(folder), name)
    with running(store_folder, load_model(str(base))) as served:
        yield served


def respond(model: FrozenModel, folder: Path, fields: dict[str, Any]) -> str:
    fields = {**fields, "logit_bias": {int(token): bias for token, bias in fields.get("logit_bias", {}).items()}}
    sampling = softprompt.SamplingParams(max_new_tokens=20, **fields)
    return "".join(softprompt.respond(model, SavedPrompt.from_folder(folder), TEXT, sampling)).strip()


def request_response(server: Running, name: str, fields: dict[str, Any]) -> str:
    messages = [{"role": "user", "content": TEXT}]
    body = {"model": name, "messages": messages, "max_tokens": 20, "temperature": 0, **fields}
    return str(server.post("/v1/chat/completions", body).json()["choices"][0]["message"]["content"]).strip()


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("fields", ALL_FIELDS, ids=str)
def test_the_server_gives_the_text_of_respond(
    model: FrozenModel, folders: dict[str, Path], server: Running, name: str, fields: dict[str, Any]
) -> None:
    assert request_response(server, name, fields) == respond(model, folders[name], fields)


@pytest.mark.parametrize("fields", COMMAND_LINE_FIELDS, ids=str)
def test_the_command_line_gives_the_text_of_respond(
    model: FrozenModel,
    base: Path,
    folders: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    fields: dict[str, Any],
) -> None:
    flags = [text for name, value in fields.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    capsys.readouterr()
    folder = folders["answers"]
    command = ["generate", str(folder), "--model", str(base), "--prompt", TEXT, "--max-new-tokens", "20", "--json"]
    assert run_cli([*command, *flags]) == 0
    assert json.loads(capsys.readouterr().out)["response"] == respond(model, folder, fields)


@pytest.mark.parametrize("fields", ALL_FIELDS, ids=str)
def test_evaluation_gives_the_text_of_respond(
    model: FrozenModel, folders: dict[str, Path], fields: dict[str, Any]
) -> None:
    """Example i has the text of `seed` + i, whatever else is in the batch."""
    saved = SavedPrompt.from_folder(folders["answers"])
    payload = saved.compile_for(model)
    objective = saved.build_objective(model, payload)
    assert isinstance(objective, LanguageModelingObjective)
    fields = {**fields, "logit_bias": {int(token): bias for token, bias in fields.get("logit_bias", {}).items()}}
    sampling = softprompt.SamplingParams(max_new_tokens=20, **fields)
    examples = [Example({"input": text, "output": "a"}) for text in ("tea", TEXT, "a bore " * 5)]
    texts = generate_responses(objective, payload, examples, sampling)
    other = replace(sampling, seed=sampling.seed + 1)
    assert texts[1] == "".join(softprompt.respond(model, saved, TEXT, other)).strip()


def test_the_sampled_texts_differ_from_each_other(model: FrozenModel, folders: dict[str, Path]) -> None:
    """Otherwise the other tests would show nothing."""
    texts = [respond(model, folders["answers"], fields) for fields in COMMAND_LINE_FIELDS]
    assert len(set(texts)) == len(texts)
