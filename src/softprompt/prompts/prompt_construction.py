"""Construction of a new soft prompt from options: its initial value, its method's parameters, and its head."""

from __future__ import annotations

import torch

from softprompt.errors import SettingError
from softprompt.model import FrozenModel
from softprompt.prompts.initializers import InitContext
from softprompt.prompts.method_builders import BuildInputs
from softprompt.prompts.option_resolution import check_options, num_virtual_tokens
from softprompt.prompts.prompt_options import PromptOptions
from softprompt.prompts.soft_prompt import SoftPrompt
from softprompt.prompts.spread_cache import get_hidden_state_spread
from softprompt.prompts.tuning_methods import TuningMethod, get_tuning_method
from softprompt.saved import SavedPrompt
from softprompt.tasks import FewShotContext, LinearHead

#: Largest change of a linear head's logits by one step at the default rate, reached if the whole difference between two
#: hidden states points to one label.
MAX_HEAD_LOGIT_STEP = 2.0


def build_prompt(
    options: PromptOptions, model: FrozenModel, init_source: str | FewShotContext, labels: tuple[str, ...] = ()
) -> tuple[SoftPrompt, str]:
    """Build a prompt for training, on the model's device in float32, and describe its initial value.

    Args:
        options: the user's choices.
        model: the frozen base model.
        init_source: default source of the initial value: a text, or demonstrations if `uses_demonstrations`.
        labels: labels of a classification task; empty for other tasks.

    Raises:
        SettingError: a choice does not exist, or is incompatible with another one.
    """
    method = get_tuning_method(options.method)
    P = num_virtual_tokens(options, model)
    check_options(options, method, model)
    name, _, argument = options.init.partition(":")
    initialize, build = method.get_initializer(name), method.get_builder(options.encoder)
    demonstrations = None if argument or isinstance(init_source, str) else init_source
    text = init_source if isinstance(init_source, str) else ""
    argument = argument or (" ".join(labels) if name == "labels" else text)
    generator = torch.Generator().manual_seed(options.seed)
    initial_value = initialize(InitContext(model, P, options.placement, argument, generator, demonstrations))
    head = _build_head(options.head, method.default_head, labels, model)
    if head is not None and name == "prompt":
        _load_head_weights(head, argument)
    prompt = build(BuildInputs(initial_value, demonstrations, model, options, head, generator))
    if head is not None:
        prompt.head_lr_multiplier = _compute_head_lr_multiplier(method, model)
    return prompt.to(model.device), initial_value.description


def _build_head(name: str | None, default: str, labels: tuple[str, ...], model: FrozenModel) -> LinearHead | None:
    if name == "linear" and not labels:
        raise SettingError('a linear head chooses among labels, and this task has none: choose `head="verbalizer"`')
    name = name or default
    if name not in ("verbalizer", "linear"):
        raise SettingError(f"unknown head {name!r}: one of verbalizer, linear")
    return LinearHead(len(labels), model.shape.hidden_size) if name == "linear" and labels else None


def _load_head_weights(head: LinearHead, folder: str) -> None:
    """Load the head of a saved prompt, if it has one with the same number of labels."""
    weights = SavedPrompt.from_folder(folder).head
    if weights is not None and weights["weight"].shape == head.weight.shape:
        head.load_state_dict(weights)


def _compute_head_lr_multiplier(method: TuningMethod, model: FrozenModel) -> float:
    """Return the head's learning rate as a multiple of the prompt's, so that a step changes the logits moderately."""
    largest_change = model.shape.hidden_size * get_hidden_state_spread(model)
    return MAX_HEAD_LOGIT_STEP / largest_change / method.get_default_learning_rate(model)
