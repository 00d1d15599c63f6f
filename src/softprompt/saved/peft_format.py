"""peft's adapter format: `adapter_config.json` and `adapter_model.safetensors`.

Prompt tuning, P-tuning and CPT store `prompt_embeddings` `[P, H]`. Prefix tuning stores `[P, 2·L·G·D]`: for each
virtual token `L0.K, L0.V, L1.K, …` of shape `(G, D)`. A prompt that peft cannot express is refused, because peft would
misread it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from softprompt.errors import CorruptPrompt, NotASavedPrompt, PeftExportError
from softprompt.model import KVPrefix, ModelKind, ModelShape, Payload, Placement, PromptEmbeddings
from softprompt.saved.tensor_files import deserialize_tensors, read_prompt_file, serialize_tensors

ADAPTER_CONFIG_FILE = "adapter_config.json"
ADAPTER_WEIGHTS_FILE = "adapter_model.safetensors"
PROMPT_EMBEDDINGS_KEY = "prompt_embeddings"

#: Adapter types whose file contains only the virtual tokens. The encoder that trained them is discarded, or, in
#: context-aware prompt tuning, added into them.
SUPPORTED_PEFT_TYPES = ("PROMPT_TUNING", "P_TUNING", "CPT", "PREFIX_TUNING", "MULTITASK_PROMPT_TUNING")

#: Keys of the configurations that `serialize_adapter_config` writes; those that peft writes have many more.
_COMMON_KEYS = (
    "base_model_name_or_path", "inference_mode", "num_layers", "num_transformer_submodules", "num_virtual_tokens",
    "task_type", "peft_type", "token_dim", "num_attention_heads",
)  # fmt: skip
ADAPTER_CONFIG_KEYS = {
    "PROMPT_TUNING": (*_COMMON_KEYS, "prompt_tuning_init"),
    "PREFIX_TUNING": (*_COMMON_KEYS, "prefix_projection", "encoder_hidden_size"),
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
    """Serialize a payload into the files of a peft adapter.

    Args:
        payload: the payload.
        shape: shape of the base model.
        base_model_name: name of the base model, for the configuration.
        has_head: whether the prompt has a linear head, which peft cannot express.

    Raises:
        PeftExportError: peft cannot express the prompt.
    """
    if reason := find_peft_incompatibility(payload, shape, has_head):
        raise PeftExportError(
            f"peft cannot express {reason}. Keep softprompt's format, or compile the prompt to a prefix "
            "(`SavedPrompt.to_prefix`, or `softprompt export --format prefix`)"
        )
    tensor = to_peft_layout(payload.tensor) if isinstance(payload, KVPrefix) else payload.tensor
    return {
        ADAPTER_CONFIG_FILE: serialize_adapter_config(payload, shape, base_model_name),
        ADAPTER_WEIGHTS_FILE: serialize_tensors({PROMPT_EMBEDDINGS_KEY: tensor}),
    }


def serialize_adapter_config(payload: Payload, shape: ModelShape, base_model_name: str) -> bytes:
    """Serialize the configuration of a peft adapter; arguments as for `serialize_peft_adapter`."""
    config: dict[str, Any] = {
        "base_model_name_or_path": base_model_name,
        "inference_mode": True,
        "num_layers": shape.num_layers,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": payload.num_virtual_tokens,
        "task_type": PEFT_TASK_TYPES[shape.kind],
    }
    match payload:
        case PromptEmbeddings():
            config |= {
                "peft_type": "PROMPT_TUNING",
                "prompt_tuning_init": "RANDOM",  # peft uses it only to create a prompt
                "token_dim": shape.embedding_size,
                "num_attention_heads": shape.num_kv_heads,
            }
        case KVPrefix():
            config |= {
                "peft_type": "PREFIX_TUNING",
                "prefix_projection": False,
                "encoder_hidden_size": shape.embedding_size,
                "token_dim": shape.num_kv_heads * shape.head_dim,
                "num_attention_heads": shape.num_kv_heads,
            }
    return (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Read the configuration of a peft adapter.

    Raises:
        NotASavedPrompt: the folder does not contain a peft adapter.
        CorruptPrompt: the configuration is not a JSON object.
    """
    try:
        config = json.loads((folder / ADAPTER_CONFIG_FILE).read_text(encoding="utf-8"))
    except OSError as error:
        raise NotASavedPrompt(f"{folder} is not a peft adapter: it has no {ADAPTER_CONFIG_FILE}") from error
    except (ValueError, RecursionError) as error:
        raise CorruptPrompt(f"{folder / ADAPTER_CONFIG_FILE} is damaged: {error}") from error
    if not isinstance(config, dict):
        raise CorruptPrompt(f"{folder / ADAPTER_CONFIG_FILE} is damaged: it is not a JSON object")
    return config


def read_peft_adapter(folder: Path, shape: ModelShape, task: int | None = None) -> Payload:
    """Read the payload of a peft adapter of a type in `SUPPORTED_PEFT_TYPES`.

    Args:
        folder: folder of the adapter.
        shape: shape of the base model.
        task: index of the task in an adapter of several tasks; None for an adapter of one task.

    Raises:
        NotASavedPrompt: the folder is not an adapter of a supported type, or `task` does not match the adapter.
        CorruptPrompt: the tensors are truncated, not finite, or do not match the model's shape.
    """
    config = read_adapter_config(folder)
    peft_type, path = config.get("peft_type"), folder / ADAPTER_WEIGHTS_FILE
    if peft_type not in SUPPORTED_PEFT_TYPES:
        raise NotASavedPrompt(
            f"{folder} is a peft adapter of type {peft_type}, which is not a soft prompt: import one of "
            f"{', '.join(SUPPORTED_PEFT_TYPES)}"
        )
    if peft_type == "PREFIX_TUNING" and shape.kind is ModelKind.ENCODER_DECODER:
        raise NotASavedPrompt(f"{folder} is a prefix for the decoder only, which is not supported: train a new prompt")
    tensors = deserialize_tensors(read_prompt_file(path), path)
    if peft_type == "MULTITASK_PROMPT_TUNING":
        tensors = _select_task(tensors, task, path)
    elif task is not None:
        raise NotASavedPrompt(f"{folder} has a single task ({peft_type}): leave `task` out")
    payload = payload_from_tensors(tensors, shape, path, is_prefix=peft_type == "PREFIX_TUNING")
    if isinstance(payload, PromptEmbeddings) and config.get("num_transformer_submodules") == 2:
        # For an encoder-decoder, peft stores the same number of virtual tokens for the decoder and never uses them.
        return payload.with_tensor(payload.tensor.chunk(2)[0])
    return payload


def _select_task(tensors: dict[str, Tensor], task_index: int | None, path: Path) -> dict[str, Tensor]:
    """Return the virtual tokens of one task: the elementwise product of the shared ones and the task's low-rank matrix.

    Raises:
        NotASavedPrompt: `task` is missing or out of range.
        CorruptPrompt: the factors are missing or their shapes do not match.
    """
    try:
        shared, columns, rows = (
            tensors[name] for name in (PROMPT_EMBEDDINGS_KEY, "prefix_task_cols", "prefix_task_rows")
        )
        products = shared * (columns @ rows)
    except (KeyError, RuntimeError) as error:
        raise CorruptPrompt(
            f"{path}: the shared prompt or the task factors are missing or invalid ({error})"
        ) from error
    if task_index is None or not 0 <= task_index < len(products):
        raise NotASavedPrompt(
            f"{path} has {len(products)} tasks: choose one with `task`, from 0 to {len(products) - 1}"
        )
    return {PROMPT_EMBEDDINGS_KEY: products[task_index]}


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
