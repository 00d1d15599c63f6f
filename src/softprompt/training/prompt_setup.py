"""How a prompt and a task fit together: options and initial text of the prompt, and the task's objective."""

from __future__ import annotations

import logging
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path

import torch

from softprompt.data import ExampleDataset
from softprompt.errors import TaskError
from softprompt.model import CausalModel, FrozenModel, Placement
from softprompt.model.cache_folder import get_cache_folder
from softprompt.model.sqlite_tensor_store import SQLiteTensorStore
from softprompt.prompts import PromptOptions, SoftPrompt, num_virtual_tokens, uses_demonstrations
from softprompt.saved import Manifest
from softprompt.tasks import (
    ChatTask,
    ClassificationTask,
    ExtractiveQATask,
    FewShotContext,
    GenerationTask,
    Objective,
    Task,
    TokenClassificationTask,
)
from softprompt.tasks.templates.template import Template
from softprompt.training.example_splits import sample_init_examples
from softprompt.training.tune_settings import TuneSettings

logger = logging.getLogger(__name__)

#: BOS tokens of many models, which a template may contain although its model has another one.
COMMON_BOS_TOKENS = ("<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "<|endoftext|>", "[CLS]")


def resolve_prompt_options(settings: TuneSettings, task: Task) -> PromptOptions:
    """Return the prompt options of the settings, adapted to the task and to markers in its template.

    Raises:
        TaskError: If the settings fit neither the template's markers nor the task.
    """
    options = _with_linear_head(_build_prompt_options(settings), task)
    markers = Template(task.template).num_virtual_tokens
    if not markers:
        if options.placement is Placement.IN_TEMPLATE:
            raise TaskError(
                '`placement="in-template"`: the template has no markers: add [P1], [P2], … for the virtual tokens'
            )
        return options
    if options.num_virtual_tokens not in (None, markers):
        raise TaskError(
            f"the template has {markers} markers for {options.num_virtual_tokens} virtual tokens: leave "
            "`num_virtual_tokens` out, or use as many markers"
        )
    if options.placement not in (Placement.BEFORE, Placement.IN_TEMPLATE):
        raise TaskError(f'`placement="{options.placement}"`: the template\'s markers set the positions, leave it out')
    return replace(options, num_virtual_tokens=markers, placement=Placement.IN_TEMPLATE)


def _build_prompt_options(settings: TuneSettings) -> PromptOptions:
    """Build the options that define the prompt from the settings of the same names."""
    names = {field.name for field in fields(PromptOptions)}
    return PromptOptions(**settings.model_dump(include=names))


def _with_linear_head(options: PromptOptions, task: Task) -> PromptOptions:
    """Return the options with a linear head if the task predicts labels of tokens inside the text."""
    if not isinstance(task, TokenClassificationTask | ExtractiveQATask):
        return options
    if options.head not in (None, "linear"):
        raise TaskError(f"`head={options.head!r}`: labels of tokens inside a text need a linear head, leave it out")
    if options.placement is Placement.AFTER_TEXT:
        raise TaskError(
            '`placement="after-text"`: tokens inside the text do not see what follows them: choose another placement'
        )
    return replace(options, head="linear")


def adopt_system_message(task: Task, init: str | None) -> Task:
    """Return the task of a prompt that starts from a saved prompt.

    If that prompt's virtual tokens contain the system message of a chat, so do those that start from them.

    Raises:
        NotASavedPrompt, CorruptPrompt, UnsupportedPromptFormat: If the saved prompt cannot be read.
    """
    name, _, folder = (init or "").partition(":")
    if name != "prompt" or not isinstance(task, ChatTask):
        return task
    previous = Manifest.from_folder(Path(folder)).task
    if not isinstance(previous, ChatTask):
        return task
    return task.model_copy(update={"system_message": previous.system_message})


def build_init_source(
    settings: TuneSettings, options: PromptOptions, task: Task, model: FrozenModel, examples: ExampleDataset
) -> str | FewShotContext:
    """Build what the virtual tokens are initialized from, depending on the method: a text, or examples with answers.

    Raises:
        SettingError: If method and model are incompatible, or no example fits.
        TaskError: If the examples of the task do not end in an answer.
    """
    max_tokens = num_virtual_tokens(options, model)
    if not uses_demonstrations(options, model):
        return task.build_init_text(model, sample_init_examples(settings, examples), max_tokens)
    if not isinstance(task, ClassificationTask | GenerationTask):
        raise TaskError(
            f"{options.method} starts from examples that end in an answer, and examples of {task.kind} do not: "
            'choose another `method`, or `init="text:words of your own"`'
        )
    return task.select_demonstrations(model, sample_init_examples(settings, examples), max_tokens)


def bind_task(task: Task, model: FrozenModel, prompt: SoftPrompt) -> Objective:
    """Build the objective of a task on a model, with the length that the prompt leaves in the context window."""
    _warn_about_special_tokens(task, model)
    with torch.no_grad():
        num_positions = model.compile_payload(prompt()).num_positions
    return task.build_objective(model, model.shape.window - num_positions, prompt.head)


def _warn_about_special_tokens(task: Task, model: FrozenModel) -> None:
    """Warn about special tokens in the template that the model adds itself, or that belong to other models."""
    template = Template(task.template)
    if doubled := template.find_duplicate_special_tokens(model):
        logger.warning(
            "the template contains %s, which %s adds to every text: it is added only once. Remove it from the template",
            " and ".join(doubled),
            model.name,
        )
    foreign = [
        token
        for token in COMMON_BOS_TOKENS
        if template.text.startswith(token) and token not in model.prompt_tokenizer.special_token_ids
    ]
    if foreign:
        logger.warning(
            "the template begins with %s, which is not a special token of %s: it is tokenized as ordinary text",
            foreign[0],
            model.name,
        )


def with_hidden_state_cache(model: FrozenModel) -> FrozenModel:
    """Return the model with a cache of hidden states below the trained layers, shared by all runs of this user."""
    assert isinstance(model, CausalModel)  # only causal models train a prefix in top layers alone
    return model.with_hidden_state_cache(_open_hidden_state_store(get_cache_folder() / "trunks.sqlite"))


@lru_cache
def _open_hidden_state_store(path: Path) -> SQLiteTensorStore:
    """Open a store once for all runs of this process."""
    return SQLiteTensorStore(path)
