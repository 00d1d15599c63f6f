"""What differs from one model family to the next, resolved once at load; nobody else asks for a model's type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from softprompt.errors import ModelNotSupported
from softprompt.model.shape import ModelShape


@dataclass(frozen=True)
class Family:
    """The answers that a family gives to the questions a soft prompt has.

    Attributes:
        trunk: the network without its language-model head.
        layers: its decoder layers, first to last.
        window: from a configuration, the most positions a row may have.
        told_positions: the trunk is told each token's position; if not (ALiBi), it reads them off the attention mask.
    """

    trunk: Callable[[PreTrainedModel], nn.Module]
    layers: Callable[[PreTrainedModel], nn.ModuleList]
    window: Callable[[PreTrainedConfig], int]
    told_positions: bool = True


def _family(trunk: str, layers: str, window: Callable[[Any], int], told_positions: bool = True) -> Family:
    return Family(attrgetter(trunk), attrgetter(f"{trunk}.{layers}"), window, told_positions)


_rotary = _family("model", "layers", lambda config: config.max_position_embeddings)

FAMILIES: dict[str, Family] = {
    "llama": _rotary,
    "qwen2": _rotary,
    "gpt2": _family("transformer", "h", lambda config: config.n_positions),
    "gpt_neox": _family("gpt_neox", "layers", lambda config: config.max_position_embeddings),
    # ALiBi has no last position; BLOOM was trained on rows of 2,048, which its configuration does not say reliably.
    "bloom": _family("transformer", "h", lambda _: 2048, told_positions=False),
}


def resolve(config: PreTrainedConfig) -> Family:
    """The family of a configuration.

    Raises:
        ModelNotSupported: the family is unknown here, or the configuration turns on what it cannot do exactly.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        known = ", ".join(sorted(FAMILIES))
        raise ModelNotSupported(
            f"models of type {config.model_type!r} are not supported yet: their answers are not proven exact "
            f"(supported: {known})"
        )
    if getattr(config, "use_sliding_window", False):
        raise ModelNotSupported("this model has sliding-window layers, in which a long text would lose its soft prompt")
    return family


def shape_of(config: PreTrainedConfig, family: Family) -> ModelShape:
    """The sizes that a soft prompt must fit."""
    heads = config.num_attention_heads
    return ModelShape(
        num_layers=config.num_hidden_layers,
        num_kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        hidden_size=config.hidden_size,
        vocab_size=config.vocab_size,
        window=family.window(config),
    )
