"""Tuning methods by name, with their defaults. Code outside this package never depends on the method of a prompt."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeVar

import torch
from torch import nn

from softprompt.errors import SettingError
from softprompt.model import FrozenModel, ModelKind, Placement
from softprompt.prompts import reparameterized_prompt
from softprompt.prompts.context_aware_prompt import RELATIVE_RADIUS, ContextAwarePrompt
from softprompt.prompts.initializers import (
    CONTEXT_INITIALIZERS,
    EMBEDDING_INITIALIZERS,
    PREFIX_INITIALIZERS,
    InitContext,
    InitialValue,
)
from softprompt.prompts.multitask_prompt import MultitaskPrompt
from softprompt.prompts.prefix_tuning import PrefixTuning, ReparameterizedPrefixTuning
from softprompt.prompts.prompt_tuning import PromptTuning
from softprompt.prompts.reparameterized_prompt import ReparameterizedPrompt, build_seeded
from softprompt.prompts.soft_prompt import SoftPrompt
from softprompt.prompts.spread_cache import get_hidden_state_spread, get_kv_spread
from softprompt.saved import SavedPrompt
from softprompt.tasks import FewShotContext, LinearHead


@dataclass(frozen=True)
class PromptOptions:
    """The user's choices for a new prompt; None means the default of the method.

    Attributes:
        method: a name in `TUNING_METHODS`.
        num_virtual_tokens: number of virtual tokens, P; with demonstrations, the largest number that they may take.
        init: `text`, `text:…`, `labels`, `vocab`, `random`, `zeros` or `prompt:FOLDER`.
        encoder: `none`, `mlp` or `lstm`, if the method supports it.
        encoder_hidden_size: hidden size of the encoder.
        placement: placement of the virtual tokens.
        freeze_sink: keep the initial keys of the first virtual token.
        layers: number of top layers in which a prefix is trained; None for all.
        head: `verbalizer` or `linear`.
        tasks: names of the tasks of a multitask prompt; empty for a single task.
        task_rank: rank of each task's matrix.
        seed: seed of all random numbers.
    """

    method: str = "prefix"
    num_virtual_tokens: int | None = None
    init: str = "text"
    encoder: str | None = None
    encoder_hidden_size: int | None = None
    placement: Placement = Placement.BEFORE
    freeze_sink: bool = False
    layers: int | None = None
    head: str | None = None
    tasks: tuple[str, ...] = ()
    task_rank: int = 1
    seed: int = 0


#: Largest change of a linear head's logits by one step at the default rate, reached if the whole difference between two
#: hidden states points to one label.
MAX_HEAD_LOGIT_STEP = 2.0
#: Learning-rate multiplier when only some layers are trained: they must move further than all layers together.
PARTIAL_LAYERS_LR_MULTIPLIER = 4


@dataclass(frozen=True)
class TuningMethod:
    """A tuning method and its defaults.

    Attributes:
        initializers: initializers by name.
        builders: builder of the prompt for each supported encoder; the first one is the default.
        lr_fraction: AdamW's learning rate as a fraction of `parameter_scale`.
        parameter_scale: scale of the trained parameters in a model: the RMS of the word embeddings, or 1 for keys and
            values, which are trained in units of their own spread.
        default_head: default way of predicting labels, `verbalizer` or `linear`.
        placements: supported placements.
        model_kinds: supported kinds of models.
        default_num_virtual_tokens: default number of virtual tokens.
        is_deep: whether the virtual tokens are keys and values in every layer. Then the top layers can be trained
            alone, and the keys of the first virtual token can be frozen.
        is_multitask: whether the method trains several tasks together, and requires them.
        uses_demonstrations: whether the virtual tokens start as examples with their answers, instead of a text.
    """

    initializers: dict[str, Callable[[InitContext], InitialValue]]
    builders: dict[str, Callable[[BuildInputs], SoftPrompt]]
    lr_fraction: float
    parameter_scale: Callable[[FrozenModel], float] = attrgetter("embedding_rms")
    default_head: str = "verbalizer"
    placements: tuple[Placement, ...] = tuple(Placement)
    model_kinds: tuple[ModelKind, ...] = tuple(ModelKind)
    default_num_virtual_tokens: int = 40
    is_deep: bool = False
    is_multitask: bool = False
    uses_demonstrations: bool = False

    def get_default_learning_rate(self, model: FrozenModel, num_trained_layers: int | None = None) -> float:
        """Return AdamW's default learning rate on a model; `num_trained_layers` is None for all layers."""
        is_partial = num_trained_layers is not None and num_trained_layers < model.shape.num_layers
        return self.lr_fraction * self.parameter_scale(model) * (PARTIAL_LAYERS_LR_MULTIPLIER if is_partial else 1)


@dataclass(frozen=True)
class BuildInputs:
    """The inputs of a builder, after all choices are made."""

    init: InitialValue
    demonstrations: FewShotContext | None
    model: FrozenModel
    options: PromptOptions
    head: LinearHead | None
    generator: torch.Generator


def _build_prompt_tuning(inputs: BuildInputs) -> SoftPrompt:
    return PromptTuning(inputs.init, inputs.options.placement, inputs.head)


def _make_reparameterized_builder(
    build_encoder: Callable[[int, int], nn.Module], default_hidden_size: int
) -> Callable[[BuildInputs], SoftPrompt]:
    def build_reparameterized(inputs: BuildInputs) -> SoftPrompt:
        hidden = inputs.options.encoder_hidden_size or default_hidden_size
        encoder = build_seeded(build_encoder, inputs.init.tensor.shape[1], hidden, inputs.generator)
        return ReparameterizedPrompt(inputs.init, encoder, inputs.options.placement, inputs.head)

    return build_reparameterized


def _build_multitask(inputs: BuildInputs) -> SoftPrompt:
    options, scale = inputs.options, inputs.model.embedding_rms
    return MultitaskPrompt(
        inputs.init, options.tasks, options.task_rank, options.placement, inputs.head, scale, inputs.generator
    )


def _build_context_aware(inputs: BuildInputs) -> SoftPrompt:
    if inputs.demonstrations:
        inputs.model.check_lm_head()  # the answers in the context are trained on as well
    radius = RELATIVE_RADIUS * inputs.model.embedding_rms * math.sqrt(inputs.init.tensor.shape[1])
    return ContextAwarePrompt(inputs.init, inputs.demonstrations, radius, inputs.options.placement, inputs.head)


def _build_prefix_tuning(inputs: BuildInputs) -> SoftPrompt:
    options = inputs.options
    spread = get_kv_spread(inputs.model)
    return PrefixTuning(
        inputs.init, spread, options.placement, inputs.head, options.freeze_sink, _num_frozen_layers(inputs)
    )


def _build_reparameterized_prefix(inputs: BuildInputs) -> SoftPrompt:
    hidden = inputs.options.encoder_hidden_size or 512
    P = inputs.init.tensor.shape[3]
    tokens = torch.randn(P, inputs.model.shape.hidden_size, generator=inputs.generator)
    spread, placement, ground = get_kv_spread(inputs.model), inputs.options.placement, _num_frozen_layers(inputs)

    def build_prefix_tuning(_: int, hidden_size: int) -> nn.Module:
        return ReparameterizedPrefixTuning(inputs.init, spread, tokens, hidden_size, placement, inputs.head, ground)

    prompt = build_seeded(build_prefix_tuning, tokens.shape[1], hidden, inputs.generator)
    assert isinstance(prompt, SoftPrompt)
    return prompt


def _num_frozen_layers(inputs: BuildInputs) -> int:
    """Return the number of lowest layers that keep their initial values."""
    layers = inputs.options.layers
    return 0 if layers is None else inputs.model.shape.num_layers - layers


def _unit_scale(_: FrozenModel) -> float:
    return 1.0


_PREFIX_PLACEMENTS = (Placement.BEFORE, Placement.AFTER_BOS)

TUNING_METHODS: dict[str, TuningMethod] = {
    "prompt": TuningMethod(
        EMBEDDING_INITIALIZERS, {"none": _build_prompt_tuning}, lr_fraction=0.04, default_num_virtual_tokens=200
    ),
    "residual": TuningMethod(
        EMBEDDING_INITIALIZERS,
        {"mlp": _make_reparameterized_builder(reparameterized_prompt.build_residual_encoder, 128)},
        lr_fraction=0.05,
    ),
    "p-tuning": TuningMethod(
        EMBEDDING_INITIALIZERS,
        {
            "mlp": _make_reparameterized_builder(reparameterized_prompt.build_mlp_encoder, 256),
            "lstm": _make_reparameterized_builder(reparameterized_prompt.LSTMEncoder, 256),
        },
        lr_fraction=0.05,
    ),
    "multitask": TuningMethod(
        EMBEDDING_INITIALIZERS,
        {"none": _build_multitask},
        lr_fraction=0.074,
        default_num_virtual_tokens=200,
        is_multitask=True,
    ),
    "context": TuningMethod(
        CONTEXT_INITIALIZERS,
        {"none": _build_context_aware},
        lr_fraction=0.01,
        placements=_PREFIX_PLACEMENTS,
        model_kinds=(ModelKind.CAUSAL,),
        default_num_virtual_tokens=200,
        uses_demonstrations=True,
    ),
    "prefix": TuningMethod(
        PREFIX_INITIALIZERS,
        {"none": _build_prefix_tuning, "mlp": _build_reparameterized_prefix},
        lr_fraction=0.01,
        parameter_scale=_unit_scale,
        placements=_PREFIX_PLACEMENTS,
        is_deep=True,
    ),
    "p-tuning-v2": TuningMethod(
        PREFIX_INITIALIZERS,
        {"none": _build_prefix_tuning},
        lr_fraction=0.02,
        parameter_scale=_unit_scale,
        default_head="linear",
        placements=_PREFIX_PLACEMENTS,
        is_deep=True,
    ),
}


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
    method = look_up_choice("method", options.method, TUNING_METHODS)
    P = num_virtual_tokens(options, model)
    _check_options(options, method, model)
    name, _, argument = options.init.partition(":")
    initialize = look_up_choice("init", name, method.initializers)
    demonstrations = None if argument or isinstance(init_source, str) else init_source
    text = init_source if isinstance(init_source, str) else ""
    argument = argument or (" ".join(labels) if name == "labels" else text)
    build = look_up_choice("encoder", options.encoder or next(iter(method.builders)), method.builders)
    generator = torch.Generator().manual_seed(options.seed)
    initial_value = initialize(InitContext(model, P, options.placement, argument, generator, demonstrations))
    if options.head == "linear" and not labels:
        raise SettingError('a linear head chooses among labels, and this task has none: choose `head="verbalizer"`')
    head = _build_head(options.head or method.default_head, labels, model)
    if head is not None and name == "prompt":
        _load_head_weights(head, argument)
    prompt = build(BuildInputs(initial_value, demonstrations, model, options, head, generator))
    if head is not None:
        prompt.head_lr_multiplier = (
            MAX_HEAD_LOGIT_STEP
            / (model.shape.hidden_size * get_hidden_state_spread(model))
            / method.get_default_learning_rate(model)
        )
    return prompt.to(model.device), initial_value.description


Choice = TypeVar("Choice")


def look_up_choice(option_name: str, name: str, choices: dict[str, Choice]) -> Choice:
    """Return `choices[name]`, or raise an error that lists the choices."""
    if name not in choices:
        raise SettingError(f"unknown {option_name} {name!r}: one of {', '.join(choices)}")
    return choices[name]


def num_virtual_tokens(options: PromptOptions, model: FrozenModel) -> int:
    """Return the number of virtual tokens: the user's choice, or the method's default.

    Raises:
        SettingError: less than 1, not less than the model's window, or an unknown method.
    """
    method = look_up_choice("method", options.method, TUNING_METHODS)
    P = options.num_virtual_tokens
    if P is None:  # in a short window, leave most positions for the text
        P = min(method.default_num_virtual_tokens, max(1, model.shape.window // 4))
    if not 0 < P < model.shape.window:
        raise SettingError(
            f"{P} virtual tokens: choose at least 1 and fewer than {model.shape.window}, the window of {model.name}"
        )
    return P


def uses_demonstrations(options: PromptOptions, model: FrozenModel) -> bool:
    """Whether the virtual tokens start as examples with their answers: by method, unless the user gave a text.

    Raises:
        SettingError: the method and the model are incompatible, as in `build_prompt`.
    """
    method = look_up_choice("method", options.method, TUNING_METHODS)
    _check_options(options, method, model)
    name, _, text = options.init.partition(":")
    return method.uses_demonstrations and name == "text" and not text


def _check_options(options: PromptOptions, method: TuningMethod, model: FrozenModel) -> None:
    if model.shape.kind not in method.model_kinds:
        raise SettingError(
            f"{options.method} supports {' and '.join(method.model_kinds)} models, but {model.name} is "
            f"{model.shape.kind}: choose another `method`"
        )
    if options.placement not in method.placements:
        raise SettingError(
            f"{options.method} does not support `placement` {options.placement}: choose {', '.join(method.placements)}"
        )
    if options.placement not in model.placements:
        raise SettingError(
            f"{model.name} does not support `placement` {options.placement}: choose {', '.join(model.placements)}"
        )
    if options.placement is Placement.AFTER_BOS and model.bos_token_id is None:
        raise SettingError(f'the tokenizer of {model.name} adds no BOS token: choose `placement="before"`')
    if options.freeze_sink and (not method.is_deep or options.encoder == "mlp"):
        raise SettingError(
            'only directly trained keys have a sink to freeze: choose `method="prefix"` and `encoder="none"`'
        )
    if options.layers is not None:
        _check_layers(options, options.layers, method, model)
    if method.is_multitask and not options.tasks:
        raise SettingError(f"{options.method} trains several tasks together: name them with `tasks`")
    if options.tasks and not method.is_multitask:
        raise SettingError(f'{options.method} trains one task: leave `tasks` out, or choose `method="multitask"`')


def _check_layers(options: PromptOptions, layers: int, method: TuningMethod, model: FrozenModel) -> None:
    if not method.is_deep:
        raise SettingError(
            f'{options.method} cannot train single layers: leave `layers` out, or choose `method="prefix"`'
        )
    if model.shape.kind is not ModelKind.CAUSAL:
        raise SettingError(
            f"`layers` supports causal models only, and {model.name} is {model.shape.kind}: leave `layers` out"
        )
    if options.placement is not Placement.BEFORE:
        raise SettingError(f'`layers` does not support `placement="{options.placement}"`: choose `placement="before"`')
    if not 0 < layers <= model.shape.num_layers:
        raise SettingError(
            f"`layers={layers}`: choose 1 to {model.shape.num_layers}, the number of layers of {model.name}"
        )


def _load_head_weights(head: LinearHead, folder: str) -> None:
    """Load the head of a saved prompt, if it has one with the same number of labels."""
    weights = SavedPrompt.from_folder(folder).head
    if weights is not None and weights["weight"].shape == head.weight.shape:
        head.load_state_dict(weights)


def _build_head(name: str, labels: tuple[str, ...], model: FrozenModel) -> LinearHead | None:
    if name not in ("verbalizer", "linear"):
        raise SettingError(f"unknown head {name!r}: one of verbalizer, linear")
    return LinearHead(len(labels), model.shape.hidden_size) if name == "linear" and labels else None
