"""What differs from one model family to the next, resolved once at load; nobody else asks for a model's type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from softprompt.errors import ModelNotSupported


@dataclass(frozen=True)
class Family:
    """The answers that a family gives to the questions a soft prompt has.

    Attributes:
        trunk: the network without its language-model head.
        layers: its decoder layers, first to last.
        window: from a configuration, the most positions a row may have.
        told_positions: from a configuration, whether the trunk is told each token's position; if not (ALiBi), it reads
            them off the attention mask.
    """

    trunk: Callable[[PreTrainedModel], nn.Module]
    layers: Callable[[PreTrainedModel], nn.ModuleList]
    window: Callable[[PreTrainedConfig], int]
    told_positions: Callable[[PreTrainedConfig], bool]


def _always(_: Any) -> bool:
    return True


def _family(
    trunk: str, layers: str, window: Callable[[Any], int], told_positions: Callable[[Any], bool] = _always
) -> Family:
    return Family(attrgetter(trunk), attrgetter(f"{trunk}.{layers}"), window, told_positions)


def _max_positions(config: Any) -> int:
    limit: int = config.max_position_embeddings
    return limit


def _rotary_window(config: Any) -> int:
    """The most positions at which every token still sees the whole row, all rotated by the same angles.

    A layer with a sliding window forgets the virtual tokens once the row is longer. Dynamic and long rotary embeddings
    change all angles when a row outgrows the length the model was first trained on, and the keys of a prefix, which are
    rotated already, would keep the old ones.
    """
    limits = [_max_positions(config), sliding_window(config)]
    for rope in _rotary_parameters(config):
        if rope.get("rope_type") in ("dynamic", "longrope"):
            limits.append(rope.get("original_max_position_embeddings"))
    return min(limit for limit in limits if limit is not None)


def softcap(config: PreTrainedConfig) -> float | None:
    """What a logit c is bent to stay below, as `c' = softcap * tanh(c / softcap)` (Gemma); None where it is not."""
    return getattr(config, "final_logit_softcapping", None)


def sliding_window(config: PreTrainedConfig) -> int | None:
    """How far back the layers that see least can see, in tokens; None where all see the whole row."""
    types = getattr(config, "layer_types", None) or ()
    if types and "sliding_attention" not in types:
        return None
    return getattr(config, "sliding_window", None)


def _rotary_parameters(config: Any) -> list[dict[str, Any]]:
    """The rotary embedding's parameters: one set for all layers, or one for each type of layer."""
    parameters = getattr(config, "rope_parameters", None) or {}
    return [parameters] if "rope_type" in parameters else [each for each in parameters.values() if each]


_rotary = _family("model", "layers", _rotary_window)

FAMILIES: dict[str, Family] = {
    "llama": _rotary,
    "mistral": _rotary,
    "qwen2": _rotary,
    "qwen3": _rotary,
    "gemma2": _rotary,
    "gemma3_text": _rotary,
    "phi3": _rotary,
    "gpt2": _family("transformer", "h", lambda config: config.n_positions),
    "gpt_neox": _family("gpt_neox", "layers", _rotary_window),
    "opt": _family("model.decoder", "layers", _max_positions),
    # ALiBi has no last position; BLOOM was trained on rows of 2,048, which its configuration does not say reliably.
    "bloom": _family("transformer", "h", lambda _: 2048, told_positions=lambda _: False),
    "falcon": _family("transformer", "h", _rotary_window, told_positions=lambda config: not config.alibi),
}

#: Why a family that somebody is sure to try is refused, where more can be said than that it is unknown.
REFUSED = {
    "deepseek_v2": "its layers compress keys and values (MLA), which a prefix cannot be laid in front of",
    "deepseek_v3": "its layers compress keys and values (MLA), which a prefix cannot be laid in front of",
    "gemma3": "it also sees images; its text-only checkpoints (gemma3_text) are supported",
    "jamba": "it mixes attention with recurrent layers, which a prefix does not reach",
    "llama4": "its layers see chunks of a row, so a prefix would vanish from the later ones",
    "mamba": "it is recurrent: it has no keys and values",
    "mamba2": "it is recurrent: it has no keys and values",
    "qwen3_next": "it mixes attention with recurrent layers, which a prefix does not reach",
    "recurrent_gemma": "it mixes attention with recurrent layers, which a prefix does not reach",
    "rwkv": "it is recurrent: it has no keys and values",
}


def resolve(config: PreTrainedConfig) -> Family:
    """The family of a configuration.

    Raises:
        ModelNotSupported: the family is unknown here, or known to be answered wrongly.
    """
    kind = config.model_type
    if kind not in FAMILIES:
        reason = REFUSED.get(kind, "its answers are not proven exact")
        known = ", ".join(sorted(FAMILIES))
        raise ModelNotSupported(f"models of type {kind!r} are not supported: {reason} (supported: {known})")
    return FAMILIES[kind]
