"""Builders of soft prompts, at least one for each tuning method: from resolved inputs to a trainable module."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from softprompt.model import FrozenModel
from softprompt.prompts.context_aware_prompt import RELATIVE_RADIUS, ContextAwarePrompt
from softprompt.prompts.initializers import InitialValue
from softprompt.prompts.multitask_prompt import MultitaskPrompt
from softprompt.prompts.prefix_tuning import PrefixTuning, ReparameterizedPrefixTuning
from softprompt.prompts.prompt_options import PromptOptions
from softprompt.prompts.prompt_tuning import PromptTuning
from softprompt.prompts.reparameterized_prompt import ReparameterizedPrompt
from softprompt.prompts.soft_prompt import SoftPrompt
from softprompt.prompts.spread_cache import get_kv_spread
from softprompt.tasks import FewShotContext, LinearHead

DEFAULT_PREFIX_ENCODER_SIZE = 512


@dataclass(frozen=True)
class BuildInputs:
    """The inputs of a builder, after all choices are made."""

    init: InitialValue
    demonstrations: FewShotContext | None
    model: FrozenModel
    options: PromptOptions
    head: LinearHead | None
    generator: torch.Generator


def build_prompt_tuning(inputs: BuildInputs) -> SoftPrompt:
    """Build prompt embeddings that are trained directly."""
    return PromptTuning(inputs.init, inputs.options.placement, inputs.head)


def make_reparameterized_builder(
    build_encoder: Callable[[int, int], nn.Module], default_hidden_size: int
) -> Callable[[BuildInputs], SoftPrompt]:
    """Make a builder of prompt embeddings with an encoder; `build_encoder` takes its embedding and hidden size."""

    def build_reparameterized(inputs: BuildInputs) -> SoftPrompt:
        hidden_size = inputs.options.encoder_hidden_size or default_hidden_size
        with _seeded_rng(inputs.generator):
            encoder = build_encoder(inputs.init.tensor.shape[1], hidden_size)
        return ReparameterizedPrompt(inputs.init, encoder, inputs.options.placement, inputs.head)

    return build_reparameterized


def build_multitask(inputs: BuildInputs) -> SoftPrompt:
    """Build shared prompt embeddings with a low-rank matrix for each task."""
    options, scale = inputs.options, inputs.model.embedding_rms
    return MultitaskPrompt(
        inputs.init, options.tasks, options.task_rank, options.placement, inputs.head, scale, inputs.generator
    )


def build_context_aware(inputs: BuildInputs) -> SoftPrompt:
    """Build prompt embeddings that stay near the words of the demonstrations."""
    if inputs.demonstrations:
        inputs.model.check_lm_head()  # the answers in the context are trained on as well
    radius = RELATIVE_RADIUS * inputs.model.embedding_rms * math.sqrt(inputs.init.tensor.shape[1])
    return ContextAwarePrompt(inputs.init, inputs.demonstrations, radius, inputs.options.placement, inputs.head)


def build_prefix_tuning(inputs: BuildInputs) -> SoftPrompt:
    """Build a prefix whose keys and values are trained directly."""
    options, spread = inputs.options, get_kv_spread(inputs.model)
    return PrefixTuning(
        inputs.init, spread, options.placement, inputs.head, options.freeze_sink, _num_frozen_layers(inputs)
    )


def build_reparameterized_prefix(inputs: BuildInputs) -> SoftPrompt:
    """Build a prefix whose keys and values are the output of a network."""
    options, spread = inputs.options, get_kv_spread(inputs.model)
    tokens = torch.randn(inputs.init.tensor.shape[3], inputs.model.shape.hidden_size, generator=inputs.generator)
    with _seeded_rng(inputs.generator):
        return ReparameterizedPrefixTuning(
            inputs.init,
            spread,
            tokens,
            options.encoder_hidden_size or DEFAULT_PREFIX_ENCODER_SIZE,
            options.placement,
            inputs.head,
            _num_frozen_layers(inputs),
        )


def _num_frozen_layers(inputs: BuildInputs) -> int:
    """Return the number of lowest layers that keep their initial values."""
    layers = inputs.options.layers
    return 0 if layers is None else inputs.model.shape.num_layers - layers


@contextmanager
def _seeded_rng(generator: torch.Generator) -> Iterator[None]:
    """Seed torch's global random state from `generator`, for modules that draw weights from it; restored afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        yield
