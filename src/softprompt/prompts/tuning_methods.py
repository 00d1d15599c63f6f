"""Tuning methods by name, with their defaults. Code outside this package never depends on the method of a prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeVar

from softprompt.errors import SettingError
from softprompt.model import FrozenModel, ModelKind, Placement
from softprompt.prompts.initializers import (
    CONTEXT_INITIALIZERS,
    EMBEDDING_INITIALIZERS,
    PREFIX_INITIALIZERS,
    InitContext,
    InitialValue,
)
from softprompt.prompts.method_builders import (
    BuildInputs,
    build_context_aware,
    build_multitask,
    build_prefix_tuning,
    build_prompt_tuning,
    build_reparameterized_prefix,
    make_reparameterized_builder,
)
from softprompt.prompts.reparameterized_prompt import LSTMEncoder, build_mlp_encoder, build_residual_encoder
from softprompt.prompts.soft_prompt import SoftPrompt

#: Learning-rate multiplier when only some layers are trained: they must move further than all layers together.
PARTIAL_LAYERS_LR_MULTIPLIER = 4

Choice = TypeVar("Choice")


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

    def get_initializer(self, name: str) -> Callable[[InitContext], InitialValue]:
        """Return the initializer with a name.

        Raises:
            SettingError: the method has no such initializer.
        """
        return _get_choice("init", name, self.initializers)

    def get_builder(self, encoder: str | None) -> Callable[[BuildInputs], SoftPrompt]:
        """Return the builder for an encoder; None for the default one.

        Raises:
            SettingError: the method does not support the encoder.
        """
        return _get_choice("encoder", encoder or next(iter(self.builders)), self.builders)


def _get_choice(option_name: str, name: str, choices: Mapping[str, Choice]) -> Choice:
    if name not in choices:
        raise SettingError(f"unknown {option_name} {name!r}: one of {', '.join(choices)}")
    return choices[name]


def _unit_scale(_: FrozenModel) -> float:
    return 1.0


_PREFIX_PLACEMENTS = (Placement.BEFORE, Placement.AFTER_BOS)

TUNING_METHODS: dict[str, TuningMethod] = {
    "prompt": TuningMethod(
        EMBEDDING_INITIALIZERS, {"none": build_prompt_tuning}, lr_fraction=0.04, default_num_virtual_tokens=200
    ),
    "residual": TuningMethod(
        EMBEDDING_INITIALIZERS,
        {"mlp": make_reparameterized_builder(build_residual_encoder, 128)},
        lr_fraction=0.05,
    ),
    "p-tuning": TuningMethod(
        EMBEDDING_INITIALIZERS,
        {
            "mlp": make_reparameterized_builder(build_mlp_encoder, 256),
            "lstm": make_reparameterized_builder(LSTMEncoder, 256),
        },
        lr_fraction=0.05,
    ),
    "multitask": TuningMethod(
        EMBEDDING_INITIALIZERS,
        {"none": build_multitask},
        lr_fraction=0.074,
        default_num_virtual_tokens=200,
        is_multitask=True,
    ),
    "context": TuningMethod(
        CONTEXT_INITIALIZERS,
        {"none": build_context_aware},
        lr_fraction=0.01,
        placements=_PREFIX_PLACEMENTS,
        model_kinds=(ModelKind.CAUSAL,),
        default_num_virtual_tokens=200,
        uses_demonstrations=True,
    ),
    "prefix": TuningMethod(
        PREFIX_INITIALIZERS,
        {"none": build_prefix_tuning, "mlp": build_reparameterized_prefix},
        lr_fraction=0.01,
        parameter_scale=_unit_scale,
        placements=_PREFIX_PLACEMENTS,
        is_deep=True,
    ),
    "p-tuning-v2": TuningMethod(
        PREFIX_INITIALIZERS,
        {"none": build_prefix_tuning},
        lr_fraction=0.02,
        parameter_scale=_unit_scale,
        default_head="linear",
        placements=_PREFIX_PLACEMENTS,
        is_deep=True,
    ),
}


def get_tuning_method(name: str) -> TuningMethod:
    """Return the tuning method with a name.

    Raises:
        SettingError: no method has this name.
    """
    return _get_choice("method", name, TUNING_METHODS)
