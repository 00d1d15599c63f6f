"""peft's adapter format, `adapter_config.json` and `adapter_model.safetensors`: its layout, and how it is written.

Prompt tuning, P-tuning and CPT store `prompt_embeddings` `[P, H]`. Prefix tuning and CARTRIDGE store `[P, 2·L·G·D]`:
for each virtual token `L0.K, L0.V, L1.K, …` of shape `(G, D)`. The two differ only in training: CARTRIDGE leaves the
first `num_frozen_tokens` virtual tokens as they are, and stores all of them. A prompt that peft cannot express is
refused, because peft would misread it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from softprompt.errors import CorruptPrompt, PeftExportError
from softprompt.model import KVPrefix, ModelKind, ModelShape, Payload, Placement, PromptEmbeddings
from softprompt.saved.tensor_files import serialize_tensors

ADAPTER_CONFIG_FILE = "adapter_config.json"
ADAPTER_WEIGHTS_FILE = "adapter_model.safetensors"
PROMPT_EMBEDDINGS_KEY = "prompt_embeddings"

#: peft's default for CARTRIDGE: training does not change the first virtual token, an attention sink.
DEFAULT_FROZEN_TOKENS = 1

#: Keys of the configurations that this module writes; those that peft writes have others.
_COMMON_KEYS = (
    "base_model_name_or_path", "inference_mode", "num_layers", "num_transformer_submodules", "num_virtual_tokens",
    "task_type", "peft_type", "token_dim", "num_attention_heads",
)  # fmt: skip
ADAPTER_CONFIG_KEYS = {
    "PROMPT_TUNING": (*_COMMON_KEYS, "prompt_tuning_init"),
    "PREFIX_TUNING": (*_COMMON_KEYS, "prefix_projection", "encoder_hidden_size"),
    "CARTRIDGE": (*_COMMON_KEYS, "num_frozen_tokens"),
}

#: peft prepends a prompt only for task types that it knows. It has none for masked models; this one runs the model
#: unchanged.
PEFT_TASK_TYPES = {
    ModelKind.CAUSAL: "CAUSAL_LM",
    ModelKind.MASKED: "FEATURE_EXTRACTION",
    ModelKind.ENCODER_DECODER: "SEQ_2_SEQ_LM",
}


def to_peft_layout(prefix: Float[Tensor, "L 2 G P D"]) -> Float[Tensor, "P _"]:
    """Convert a KV prefix into peft's layout, `[P, 2·L·G·D]`."""
    return prefix.permute(3, 0, 1, 2, 4).flatten(1)


def from_peft_layout(flat: Float[Tensor, "P _"], shape: ModelShape) -> Float[Tensor, "L 2 G P D"]:
    """Convert a KV prefix from peft's layout."""
    sizes = (flat.shape[0], shape.num_layers, 2, shape.num_kv_heads, shape.head_dim)
    return flat.reshape(sizes).permute(1, 2, 3, 0, 4)


def find_peft_incompatibility(payload: Payload, shape: ModelShape, has_head: bool) -> str | None:
    """Return the part of a prompt that peft cannot express, or None."""
    if isinstance(payload, KVPrefix) and not shape.takes_cache:
        return "a prefix on this base model, whose network ignores the keys and values that peft passes to it"
    if payload.placement is not Placement.BEFORE:
        return f"virtual tokens {payload.placement}: peft always prepends them to the whole input"
    if has_head:
        return "the trained linear head: peft would predict without it"
    return None


def serialize_peft_adapter(
    payload: Payload, shape: ModelShape, base_model_name: str, has_head: bool = False
) -> dict[str, bytes]:
    """Serialize a payload into the files of a peft adapter: of prompt tuning, or of prefix tuning for a KV prefix.

    Args:
        payload: the payload.
        shape: shape of the base model.
        base_model_name: name of the base model, for the configuration.
        has_head: whether the prompt has a linear head, which peft cannot express.

    Raises:
        PeftExportError: peft cannot express the prompt.
    """
    _check_expressible(payload, shape, has_head)
    return _serialize_files(payload, serialize_adapter_config(payload, shape, base_model_name))


def serialize_adapter_config(payload: Payload, shape: ModelShape, base_model_name: str) -> bytes:
    """Serialize the configuration of a peft adapter; arguments as for `serialize_peft_adapter`."""
    match payload:
        case PromptEmbeddings():
            config = {
                "peft_type": "PROMPT_TUNING",
                "prompt_tuning_init": "RANDOM",  # peft uses it only to create a prompt
                "token_dim": shape.embedding_size,
            }
        case KVPrefix():
            config = {
                "peft_type": "PREFIX_TUNING",
                "prefix_projection": False,
                "encoder_hidden_size": shape.embedding_size,
                "token_dim": shape.num_kv_heads * shape.head_dim,
            }
    return _serialize_config(config, payload, shape, base_model_name)


def serialize_cartridge_adapter(
    payload: Payload, shape: ModelShape, base_model_name: str, has_head: bool = False
) -> dict[str, bytes]:
    """Serialize a KV prefix into the files of a CARTRIDGE adapter; arguments as for `serialize_peft_adapter`.

    Raises:
        PeftExportError: peft cannot express the prompt, or it is not a KV prefix.
    """
    _check_expressible(payload, shape, has_head)
    if not isinstance(payload, KVPrefix):
        raise PeftExportError(
            "a CARTRIDGE adapter holds keys and values, and this prompt holds embeddings: compile it to a prefix first "
            "(`SavedPrompt.to_prefix`, or `softprompt export --format prefix`)"
        )
    config = {
        "peft_type": "CARTRIDGE",
        "num_frozen_tokens": DEFAULT_FROZEN_TOKENS,
        "token_dim": shape.num_kv_heads * shape.head_dim,
    }
    return _serialize_files(payload, _serialize_config(config, payload, shape, base_model_name))


def _check_expressible(payload: Payload, shape: ModelShape, has_head: bool) -> None:
    """Raise `PeftExportError` if peft cannot express a prompt."""
    if reason := find_peft_incompatibility(payload, shape, has_head):
        raise PeftExportError(
            f"peft cannot express {reason}. Keep softprompt's format, or compile the prompt to a prefix "
            "(`SavedPrompt.to_prefix`, or `softprompt export --format prefix`)"
        )


def _serialize_config(
    config_of_type: dict[str, Any], payload: Payload, shape: ModelShape, base_model_name: str
) -> bytes:
    """Serialize the configuration: the settings of its type, and those that all types have."""
    config = {
        "base_model_name_or_path": base_model_name,
        "inference_mode": True,
        "num_attention_heads": shape.num_kv_heads,
        "num_layers": shape.num_layers,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": payload.num_virtual_tokens,
        "task_type": PEFT_TASK_TYPES[shape.kind],
        **config_of_type,
    }
    return (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()


def _serialize_files(payload: Payload, config: bytes) -> dict[str, bytes]:
    tensor = to_peft_layout(payload.tensor) if isinstance(payload, KVPrefix) else payload.tensor
    return {ADAPTER_CONFIG_FILE: config, ADAPTER_WEIGHTS_FILE: serialize_tensors({PROMPT_EMBEDDINGS_KEY: tensor})}


def payload_from_tensors(tensors: dict[str, Tensor], shape: ModelShape, path: Path, *, is_prefix: bool) -> Payload:
    """Make the payload from the tensors of a file.

    Raises:
        CorruptPrompt: the tensor is missing or its shape does not match the model.
    """
    tensor = tensors.get(PROMPT_EMBEDDINGS_KEY)
    if tensor is None:
        raise CorruptPrompt(f"{path} has no {PROMPT_EMBEDDINGS_KEY!r}")
    width = 2 * shape.num_layers * shape.num_kv_heads * shape.head_dim if is_prefix else shape.embedding_size
    if tensor.ndim != 2 or tensor.shape[0] == 0 or tensor.shape[1] != width:
        raise CorruptPrompt(
            f"{path}: {PROMPT_EMBEDDINGS_KEY} has the shape {list(tensor.shape)}, but this model needs [P, {width}]"
        )
    return KVPrefix(from_peft_layout(tensor, shape)) if is_prefix else PromptEmbeddings(tensor)
