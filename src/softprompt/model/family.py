"""Differences between model families, resolved once at load; no other module looks at a model's type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from operator import attrgetter
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from softprompt.errors import ModelNotSupported
from softprompt.model.model_shape import ModelKind


def _get_linear_bias(network: Any) -> Tensor | None:
    return getattr(network.get_output_embeddings(), "bias", None)


def _get_identity_transform(_: Any) -> Callable[[Tensor], Tensor]:
    return lambda hidden: hidden


@dataclass(frozen=True, kw_only=True)
class ModelFamily:
    """Accessors for the parts in which model families differ.

    Attributes:
        kind: which tokens attend to which.
        get_backbone: returns the network without its language-modeling head.
        get_layers: returns the layers, first to last; of an encoder-decoder, the encoder's.
        get_max_positions: returns, from a configuration, the maximum number of positions in a sequence.
        uses_position_ids: returns, from a configuration, whether the backbone takes position ids. With ALiBi it derives
            positions from the attention mask.
        get_head_transform: returns the part of the head before its last linear layer.
        get_head_bias: returns the bias of the logits, or None.
        get_first_position: returns the position of the first token.
        supports_past_key_values: whether the network accepts keys and values in front of a sequence.
        layers_return_tuples: whether a layer returns its output in a tuple.
        is_llama_like: returns, from a configuration, whether the layers are built and computed like Llama's.
    """

    kind: ModelKind
    get_backbone: Callable[[PreTrainedModel], nn.Module]
    get_layers: Callable[[PreTrainedModel], nn.ModuleList]
    get_max_positions: Callable[[PreTrainedConfig], int]
    uses_position_ids: Callable[[PreTrainedConfig], bool] = lambda _: True
    get_head_transform: Callable[[PreTrainedModel], Callable[[Tensor], Tensor]] = _get_identity_transform
    get_head_bias: Callable[[PreTrainedModel], Tensor | None] = _get_linear_bias
    get_first_position: Callable[[PreTrainedModel], int] = lambda _: 0
    supports_past_key_values: bool = True
    layers_return_tuples: bool = False
    is_llama_like: Callable[[PreTrainedConfig], bool] = lambda _: False


def _causal_family(
    backbone: str,
    layers: str,
    get_max_positions: Callable[[Any], int],
    uses_position_ids: Callable[[Any], bool] = lambda _: True,
    layers_return_tuples: bool = False,
) -> ModelFamily:
    return ModelFamily(
        kind=ModelKind.CAUSAL,
        get_backbone=attrgetter(backbone),
        get_layers=attrgetter(f"{backbone}.{layers}"),
        get_max_positions=get_max_positions,
        uses_position_ids=uses_position_ids,
        layers_return_tuples=layers_return_tuples,
    )


def _masked_family(
    backbone: str,
    layers: str,
    get_head_transform: Callable[[Any], Callable[[Tensor], Tensor]],
    get_first_position: Callable[[Any], int] = lambda _: 0,
    supports_past_key_values: bool = True,
) -> ModelFamily:
    def get_max_positions(config: Any) -> int:
        limit: int = config.max_position_embeddings - get_first_position(config)
        return limit

    return ModelFamily(
        kind=ModelKind.MASKED,
        get_backbone=attrgetter(backbone),
        get_layers=attrgetter(f"{backbone}.{layers}"),
        get_max_positions=get_max_positions,
        get_head_transform=get_head_transform,
        get_first_position=lambda network: get_first_position(network.config),
        supports_past_key_values=supports_past_key_values,
    )


def _encoder_decoder_family(
    get_backbone: Callable[[Any], nn.Module],
    layers: str,
    get_max_positions: Callable[[Any], int],
    get_head_transform: Callable[[Any], Callable[[Tensor], Tensor]] = _get_identity_transform,
    get_head_bias: Callable[[Any], Tensor | None] = _get_linear_bias,
) -> ModelFamily:
    return ModelFamily(
        kind=ModelKind.ENCODER_DECODER,
        get_backbone=get_backbone,
        get_layers=lambda network: attrgetter(layers)(get_backbone(network)),
        get_max_positions=get_max_positions,
        uses_position_ids=lambda _: False,
        get_head_transform=get_head_transform,
        get_head_bias=get_head_bias,
        supports_past_key_values=False,  # peft passes a prefix to the decoder only
    )


def _compose_modules(*module_names: str) -> Callable[[Any], Callable[[Tensor], Tensor]]:
    """Compose modules of a network, given by name."""
    return lambda network: (
        lambda hidden: reduce(lambda states, step: attrgetter(step)(network)(states), module_names, hidden)
    )


def _get_roberta_transform(network: Any) -> Callable[[Tensor], Tensor]:
    head = network.lm_head
    return lambda hidden: head.layer_norm(nn.functional.gelu(head.dense(hidden)))


def _get_t5_transform(network: Any) -> Callable[[Tensor], Tensor]:
    """Scale hidden states to the embeddings' scale, as T5 does with tied weights (not T5 1.1 and Flan-T5)."""
    scale = network.config.d_model**-0.5 if network.config.scale_decoder_outputs else 1.0
    return lambda hidden: hidden * scale


def _get_bart_bias(network: Any) -> Tensor:
    bias: Tensor = network.final_logits_bias[0]
    return bias


def _get_whole_network(network: Any) -> nn.Module:
    module: nn.Module = network
    return module


def _get_position_after_padding(config: Any) -> int:
    """Return RoBERTa's first position: positions are counted from the padding id plus one."""
    first: int = config.pad_token_id + 1
    return first


def _get_max_position_embeddings(config: Any) -> int:
    limit: int = config.max_position_embeddings
    return limit


def _get_t5_max_positions(config: Any) -> int:
    """Return T5's training length: 512 tokens, unless the configuration says otherwise. T5 has no last position."""
    limit: int = getattr(config, "n_positions", None) or 512
    return limit


def _get_rotary_max_positions(config: Any) -> int:
    """Return the maximum length at which every token sees the whole sequence and rotary angles are unchanged.

    A layer with a sliding window loses sight of the virtual tokens in longer sequences. Dynamic and long rotary
    embeddings change all angles beyond the original training length, but the keys of a prefix are rotated already and
    would keep the old angles.
    """
    limits = [_get_max_position_embeddings(config), get_sliding_window(config)]
    for rope in _get_rope_parameters(config):
        if rope.get("rope_type") in ("dynamic", "longrope"):
            limits.append(rope.get("original_max_position_embeddings"))
    return min(limit for limit in limits if limit is not None)


def get_logit_softcap(config: PreTrainedConfig) -> float | None:
    """Return the softcap of logits, `softcap * tanh(logit / softcap)` (Gemma), or None."""
    return getattr(config, "final_logit_softcapping", None)


def get_attention_softcap(config: PreTrainedConfig) -> float | None:
    """Return the softcap of attention logits, `softcap * tanh(logit / softcap)` (Gemma 2), or None."""
    return getattr(config, "attn_logit_softcapping", None)


def get_sliding_window(config: PreTrainedConfig) -> int | None:
    """Return the sliding window in tokens; None if all layers attend to the whole sequence."""
    types = getattr(config, "layer_types", None) or ()
    if types and "sliding_attention" not in types:
        return None
    return getattr(config, "sliding_window", None)


def _get_rope_parameters(config: Any) -> list[dict[str, Any]]:
    """Return the rotary parameters: one set for all layers, or one per layer type."""
    parameters = getattr(config, "rope_parameters", None) or {}
    if "rope_type" in parameters:
        return [parameters]
    return [layer_parameters for layer_parameters in parameters.values() if layer_parameters]


_rotary = _causal_family("model", "layers", _get_rotary_max_positions)
_llama = replace(_rotary, is_llama_like=lambda config: config.hidden_act == "silu")

_bart = _encoder_decoder_family(
    attrgetter("model"), "encoder.layers", _get_max_position_embeddings, get_head_bias=_get_bart_bias
)

FAMILIES: dict[str, ModelFamily] = {
    "llama": _llama,
    "mistral": _llama,
    "qwen2": _llama,
    "qwen3": _llama,
    "gemma2": _rotary,
    "gemma3_text": _rotary,
    "phi3": _rotary,
    "gpt2": _causal_family("transformer", "h", lambda config: config.n_positions),
    "gpt_neox": _causal_family("gpt_neox", "layers", _get_rotary_max_positions),
    "opt": _causal_family("model.decoder", "layers", _get_max_position_embeddings),
    # ALiBi has no last position; BLOOM was trained on 2,048 tokens, which its configuration does not reliably state.
    "bloom": _causal_family(
        "transformer",
        "h",
        get_max_positions=lambda _: 2048,
        uses_position_ids=lambda _: False,
        layers_return_tuples=True,
    ),
    "falcon": _causal_family(
        "transformer",
        "h",
        get_max_positions=_get_rotary_max_positions,
        uses_position_ids=lambda config: not config.alibi,
        layers_return_tuples=True,
    ),
    "bert": _masked_family("bert", "encoder.layer", _compose_modules("cls.predictions.transform")),
    "roberta": _masked_family("roberta", "encoder.layer", _get_roberta_transform, _get_position_after_padding),
    "xlm-roberta": _masked_family("roberta", "encoder.layer", _get_roberta_transform, _get_position_after_padding),
    "distilbert": _masked_family(
        "distilbert",
        "transformer.layer",
        _compose_modules("vocab_transform", "activation", "vocab_layer_norm"),
        supports_past_key_values=False,
    ),
    "electra": _masked_family("electra", "encoder.layer", _compose_modules("generator_predictions")),
    "albert": _masked_family(
        "albert",
        "encoder.albert_layer_groups",
        _compose_modules("predictions.dense", "predictions.activation", "predictions.LayerNorm"),
        supports_past_key_values=False,
    ),
    "t5": _encoder_decoder_family(_get_whole_network, "encoder.block", _get_t5_max_positions, _get_t5_transform),
    "mt5": _encoder_decoder_family(_get_whole_network, "encoder.block", _get_t5_max_positions),
    "bart": _bart,
    "mbart": _bart,
}

#: Reasons why well-known families are refused.
UNSUPPORTED_REASONS = {
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


def resolve_family(config: PreTrainedConfig) -> ModelFamily:
    """Return the family of a configuration.

    Raises:
        ModelNotSupported: the family is unknown, or would give wrong results.
    """
    check_model_type(config.model_type)
    return FAMILIES[config.model_type]


def check_model_type(model_type: str, *, has_custom_code: bool = False) -> None:
    """Check that a model type is supported.

    Args:
        model_type: `model_type` of the configuration.
        has_custom_code: whether the model's files include Python code, which the message then mentions.

    Raises:
        ModelNotSupported: the family is unknown, or would give wrong results.
    """
    if model_type not in FAMILIES:
        unknown = "its answers are not proven exact"
        if has_custom_code:
            unknown += ", and the code that comes with it is never run"
        reason = UNSUPPORTED_REASONS.get(model_type, unknown)
        known = ", ".join(sorted(FAMILIES))
        raise ModelNotSupported(f"models of type {model_type!r} are not supported: {reason} (supported: {known})")
