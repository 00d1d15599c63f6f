"""What differs from one model family to the next, resolved once at load; nobody else asks for a model's type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from operator import attrgetter
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from softprompt.errors import ModelNotSupported
from softprompt.model.shape import Kind


@dataclass(frozen=True)
class Family:
    """The answers that a family gives to the questions a soft prompt has.

    Attributes:
        kind: how its tokens see one another.
        trunk: the network without its language-model head.
        layers: its layers, first to last; of an encoder-decoder those of the encoder.
        window: from a configuration, the most positions a row may have.
        told_positions: from a configuration, whether the trunk is told each token's position; if not (ALiBi), it reads
            them off the attention mask.
        to_words: what the head does to a hidden state before the last linear layer, whose rows are the words.
        word_bias: what the head adds to the words' logits, or None.
        first_position: the position of a row's first token.
        takes_cache: the network accepts keys and values in front of a row, and does not ignore them.
        layers_give_tuples: a layer gives its output as the first of several things.
        are_llamas: from a configuration, whether its layers are laid out and computed as Llama's.
    """

    kind: Kind
    trunk: Callable[[PreTrainedModel], nn.Module]
    layers: Callable[[PreTrainedModel], nn.ModuleList]
    window: Callable[[PreTrainedConfig], int]
    told_positions: Callable[[PreTrainedConfig], bool]
    to_words: Callable[[PreTrainedModel], Callable[[Tensor], Tensor]]
    word_bias: Callable[[PreTrainedModel], Tensor | None]
    first_position: Callable[[PreTrainedModel], int]
    takes_cache: bool = True
    layers_give_tuples: bool = False
    are_llamas: Callable[[PreTrainedConfig], bool] = lambda _: False


def _head_bias(network: Any) -> Tensor | None:
    return getattr(network.get_output_embeddings(), "bias", None)


def _nothing(_: Any) -> Callable[[Tensor], Tensor]:
    return lambda hidden: hidden


def _causal(
    trunk: str,
    layers: str,
    window: Callable[[Any], int],
    told_positions: Callable[[Any], bool] = lambda _: True,
    layers_give_tuples: bool = False,
) -> Family:
    return Family(
        Kind.CAUSAL,
        attrgetter(trunk),
        attrgetter(f"{trunk}.{layers}"),
        window,
        told_positions,
        _nothing,
        _head_bias,
        lambda _: 0,
        layers_give_tuples=layers_give_tuples,
    )


def _masked(
    trunk: str,
    layers: str,
    to_words: Callable[[Any], Callable[[Tensor], Tensor]],
    first: Callable[[Any], int],
    takes_cache: bool = True,
) -> Family:
    def window(config: Any) -> int:
        limit: int = config.max_position_embeddings - first(config)
        return limit

    return Family(
        Kind.MASKED,
        attrgetter(trunk),
        attrgetter(f"{trunk}.{layers}"),
        window,
        lambda _: True,
        to_words,
        _head_bias,
        lambda network: first(network.config),
        takes_cache,
    )


def _encoder_decoder(
    trunk: Callable[[Any], nn.Module],
    layers: str,
    window: Callable[[Any], int],
    to_words: Callable[[Any], Callable[[Tensor], Tensor]] = _nothing,
    word_bias: Callable[[Any], Tensor | None] = _head_bias,
) -> Family:
    return Family(
        Kind.ENCODER_DECODER,
        trunk,
        lambda network: attrgetter(layers)(trunk(network)),
        window,
        lambda _: False,
        to_words,
        word_bias,
        lambda _: 0,
        takes_cache=False,  # peft hands one to the decoder alone
    )


def _chain(*steps: str) -> Callable[[Any], Callable[[Tensor], Tensor]]:
    """The modules of a network by name, one after the other."""
    return lambda network: lambda hidden: reduce(lambda states, step: attrgetter(step)(network)(states), steps, hidden)


def _roberta_head(network: Any) -> Callable[[Tensor], Tensor]:
    head = network.lm_head
    return lambda hidden: head.layer_norm(nn.functional.gelu(head.dense(hidden)))


def _scaled(network: Any) -> Callable[[Tensor], Tensor]:
    """T5's head, but for 1.1 and Flan: with tied weights the states come down to the embeddings' scale."""
    scale = network.config.d_model**-0.5 if network.config.scale_decoder_outputs else 1.0
    return lambda hidden: hidden * scale


def _bart_bias(network: Any) -> Tensor:
    bias: Tensor = network.final_logits_bias[0]
    return bias


def _itself(network: Any) -> nn.Module:
    module: nn.Module = network
    return module


def _zero(_: Any) -> int:
    return 0


def _behind_padding(config: Any) -> int:
    """RoBERTa counts positions from behind its padding id."""
    first: int = config.pad_token_id + 1
    return first


def _max_positions(config: Any) -> int:
    limit: int = config.max_position_embeddings
    return limit


def _t5_window(config: Any) -> int:
    """T5 has no last position; it was trained on rows of 512, which only some configurations say."""
    limit: int = getattr(config, "n_positions", None) or 512
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


_rotary = _causal("model", "layers", _rotary_window)
_llama = replace(_rotary, are_llamas=lambda config: config.hidden_act == "silu")

_bart = _encoder_decoder(attrgetter("model"), "encoder.layers", _max_positions, word_bias=_bart_bias)

FAMILIES: dict[str, Family] = {
    "llama": _llama,
    "mistral": _llama,
    "qwen2": _llama,
    "qwen3": _llama,
    "gemma2": _rotary,
    "gemma3_text": _rotary,
    "phi3": _rotary,
    "gpt2": _causal("transformer", "h", lambda config: config.n_positions),
    "gpt_neox": _causal("gpt_neox", "layers", _rotary_window),
    "opt": _causal("model.decoder", "layers", _max_positions),
    # ALiBi has no last position; BLOOM was trained on rows of 2,048, which its configuration does not say reliably.
    "bloom": _causal("transformer", "h", lambda _: 2048, lambda _: False, layers_give_tuples=True),
    "falcon": _causal("transformer", "h", _rotary_window, lambda config: not config.alibi, layers_give_tuples=True),
    "bert": _masked("bert", "encoder.layer", _chain("cls.predictions.transform"), _zero),
    "roberta": _masked("roberta", "encoder.layer", _roberta_head, _behind_padding),
    "xlm-roberta": _masked("roberta", "encoder.layer", _roberta_head, _behind_padding),
    "distilbert": _masked(
        "distilbert",
        "transformer.layer",
        _chain("vocab_transform", "activation", "vocab_layer_norm"),
        _zero,
        takes_cache=False,
    ),
    "electra": _masked("electra", "encoder.layer", _chain("generator_predictions"), _zero),
    "albert": _masked(
        "albert",
        "encoder.albert_layer_groups",
        _chain("predictions.dense", "predictions.activation", "predictions.LayerNorm"),
        _zero,
        takes_cache=False,
    ),
    "t5": _encoder_decoder(_itself, "encoder.block", _t5_window, _scaled),
    "mt5": _encoder_decoder(_itself, "encoder.block", _t5_window),
    "bart": _bart,
    "mbart": _bart,
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
    check_supported(config.model_type)
    return FAMILIES[config.model_type]


def check_supported(model_type: str, *, has_own_code: bool = False) -> None:
    """See whether models of a type are supported, by what their configuration calls it.

    Args:
        model_type: of the configuration.
        has_own_code: the model's files come with Python code, for the message.

    Raises:
        ModelNotSupported: the family is unknown here, or known to be answered wrongly.
    """
    if model_type not in FAMILIES:
        unknown = "its answers are not proven exact"
        if has_own_code:
            unknown += ", and the code that comes with it is never run"
        reason = REFUSED.get(model_type, unknown)
        known = ", ".join(sorted(FAMILIES))
        raise ModelNotSupported(f"models of type {model_type!r} are not supported: {reason} (supported: {known})")
