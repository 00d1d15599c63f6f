"""Reading of peft adapters that other programs wrote, as payloads for a model.

An adapter names its base model and states its shape, but has no fingerprint. So everything that its configuration says
about the model and the tensors is checked.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from softprompt.errors import CorruptPrompt, NotASavedPrompt
from softprompt.model import ModelKind, ModelShape, Payload, PromptEmbeddings
from softprompt.saved.peft_format import (
    ADAPTER_CONFIG_FILE,
    ADAPTER_WEIGHTS_FILE,
    DEFAULT_FROZEN_TOKENS,
    PROMPT_EMBEDDINGS_KEY,
    payload_from_tensors,
)
from softprompt.saved.tensor_files import deserialize_tensors, read_prompt_file

#: Adapter types whose file contains only the virtual tokens. The encoder that trained them is discarded, or, in
#: context-aware prompt tuning, added into them.
SUPPORTED_PEFT_TYPES = ("PROMPT_TUNING", "P_TUNING", "CPT", "PREFIX_TUNING", "CARTRIDGE", "MULTITASK_PROMPT_TUNING")
PREFIX_PEFT_TYPES = ("PREFIX_TUNING", "CARTRIDGE")


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
        CorruptPrompt: the tensors are truncated, not finite, or do not match the model's shape; or the configuration
            contradicts the tensors or the model.
    """
    config = read_adapter_config(folder)
    peft_type, path = config.get("peft_type"), folder / ADAPTER_WEIGHTS_FILE
    if peft_type not in SUPPORTED_PEFT_TYPES:
        raise NotASavedPrompt(
            f"{folder} is a peft adapter of type {peft_type}, which is not a soft prompt: import one of "
            f"{', '.join(SUPPORTED_PEFT_TYPES)}"
        )
    is_prefix = peft_type in PREFIX_PEFT_TYPES
    if is_prefix and shape.kind is ModelKind.ENCODER_DECODER:
        raise NotASavedPrompt(f"{folder} is a prefix for the decoder only, which is not supported: train a new prompt")
    tensors = deserialize_tensors(read_prompt_file(path), path)
    if peft_type == "MULTITASK_PROMPT_TUNING":
        tensors = _select_task(tensors, task, path)
    elif task is not None:
        raise NotASavedPrompt(f"{folder} has a single task ({peft_type}): leave `task` out")
    payload = payload_from_tensors(tensors, shape, path, is_prefix=is_prefix)
    if is_prefix:
        _check_prefix_config(config, shape, folder / ADAPTER_CONFIG_FILE)
    if peft_type == "CARTRIDGE":
        _check_token_counts(config, payload.num_virtual_tokens, folder / ADAPTER_CONFIG_FILE)
    if isinstance(payload, PromptEmbeddings) and config.get("num_transformer_submodules") == 2:
        # For an encoder-decoder, peft stores the same number of virtual tokens for the decoder and never uses them.
        return payload.with_tensor(payload.tensor.chunk(2)[0])
    return payload


def _check_prefix_config(config: dict[str, Any], shape: ModelShape, path: Path) -> None:
    """Check that a prefix was made for the model's layers and heads: a width alone fits several of them.

    Raises:
        CorruptPrompt: the configuration states other numbers than the model has.
    """
    expected = {
        "num_layers": shape.num_layers,
        "num_attention_heads": shape.num_kv_heads,
        "token_dim": shape.num_kv_heads * shape.head_dim,
    }
    for name, number in expected.items():
        if (found := config.get(name)) not in (None, number):
            raise CorruptPrompt(f"{path}: {name} is {found!r}, but this model needs {number}: pass the adapter's model")


def _check_token_counts(config: dict[str, Any], num_rows: int, path: Path) -> None:
    """Check the virtual tokens of a CARTRIDGE adapter, which peft loads only if their numbers fit together.

    Raises:
        CorruptPrompt: the file holds another number of virtual tokens, or more are frozen than there are.
    """
    if (stated := config.get("num_virtual_tokens", num_rows)) != num_rows:
        raise CorruptPrompt(f"{path}: num_virtual_tokens is {stated!r}, but {ADAPTER_WEIGHTS_FILE} holds {num_rows}")
    num_frozen = config.get("num_frozen_tokens", DEFAULT_FROZEN_TOKENS)
    if type(num_frozen) is not int or not 0 <= num_frozen <= num_rows:
        raise CorruptPrompt(
            f"{path}: num_frozen_tokens is {num_frozen!r}, but must be an integer from 0 to {num_rows}, the number of "
            "virtual tokens"
        )


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
