"""Texts in front of the inputs of a small comparison."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from softprompt.comparison import CompareSettings, Experiment, FitConfig
from softprompt.comparison.methods.local_fitted_model import LocalFittedModel
from softprompt.comparison.methods.method_registry import get_method
from softprompt.errors import SoftPromptError
from softprompt.training.callbacks import NullCallback
from tests.chat_templates import WITH_DEFAULT_SYSTEM, chat_model
from tests.cli.conftest import saved_model
from tests.comparison.conftest import written
from tests.tasks.test_extractive_qa_task import ROWS as EXTRACTED
from tests.tasks.test_token_classification_task import ROWS as TAGGED

INSTRUCTION = "the film was great fun and the food is awful, so say good or bad"
SHOTS = [
    {"text": "a lovely film", "label": "good"},
    {"text": "an awful bore", "label": "bad"},
    {"text": "great fun", "label": "good"},
]

#: Names of the methods that use the text, each with a few tokens.
TEXT_METHODS = ("document", "truncate:4", "distil:4")

MakeSettings = Callable[..., CompareSettings]


def write_instruction(folder: Path) -> Path:
    path = folder / "instruction.txt"
    path.write_text(INSTRUCTION, "utf-8")
    return path


def prepare(settings: MakeSettings, folder: Path, **changes: Any) -> Experiment:
    """Prepare an experiment with the instruction in front of its inputs, unless another text is given."""
    given = {} if changes.keys() & {"context", "examples", "document"} else {"context": write_instruction(folder)}
    return Experiment.prepare(settings(**given, **changes))


def fit(experiment: Experiment, name: str, **config: Any) -> LocalFittedModel:
    fitted = get_method(name).fit(experiment, FitConfig(experiment.training, **{"steps": 3, **config}), NullCallback())
    assert isinstance(fitted, LocalFittedModel)
    return fitted


def check_text_methods_refuse(experiment: Experiment, names: tuple[str, ...], *words: str) -> None:
    """Check that methods refuse an experiment, with their names in the message."""
    for name in names:
        with pytest.raises(SoftPromptError) as refusal:
            fit(experiment, name)
        for word in (f"{name}: ", *words):
            assert word in str(refusal.value)


def write_other_tasks(folder: Path) -> dict[str, dict[str, Any]]:
    """Write the files of tasks that no text can precede, and return their settings by name."""
    tasks = {"token-classification": TAGGED, "extraction": EXTRACTED}
    return {
        name: {
            "template": None,
            "allow_overlap": True,
            **{split: written(folder / f"{name}-{split}.jsonl", rows) for split in ("data", "validation", "test")},
        }
        for name, rows in tasks.items()
    }


def write_chats(folder: Path, template: str = WITH_DEFAULT_SYSTEM) -> dict[str, Any]:
    """Write chats and a model with a chat template, and return their settings."""
    model = chat_model(template)
    model.network.save_pretrained(folder / "chat")
    model.tokenizer.save_pretrained(folder / "chat")
    subjects = {"data": ("film", "plot", "cast", "song"), "validation": ("food", "tea"), "test": ("rice", "fish")}
    files = {
        split: written(
            folder / f"chats-{split}.jsonl",
            [
                {"messages": [{"role": "user", "content": f"the {name}?"}, {"role": "assistant", "content": "good"}]}
                for name in names
            ],
        )
        for split, names in subjects.items()
    }
    return {"model": str(folder / "chat"), "template": None, **files}


def save_masked_model(folder: Path) -> str:
    return str(saved_model(folder / "bert", 0, "bert"))
