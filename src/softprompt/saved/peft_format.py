"""peft's adapter folder, read and written exactly: `adapter_config.json` and `adapter_model.safetensors`.

Prompt tuning, P-tuning and CPT hold `prompt_embeddings` `[P, H]`, prefix tuning `[P, 2·L·G·D]`, each row `L0.K, L0.V,
L1.K, …`, each `(G, D)`. What peft cannot express is refused, never written in a way that peft would read and get wrong.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from softprompt.errors import DamagedPrompt, NotASavedPrompt, NotExpressible
from softprompt.model import Embeddings, Kind, ModelShape, Payload, Placement, Prefix
from softprompt.saved.tensors import parse_tensors, read_bytes, to_bytes

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"
KEY = "prompt_embeddings"

#: The adapters whose file holds what stands in front of a row and nothing else: what trained it is thrown away, or, in
#: context-aware prompt tuning, added in.
READABLE = ("PROMPT_TUNING", "P_TUNING", "CPT", "PREFIX_TUNING", "MULTITASK_PROMPT_TUNING")

#: The keys of the configurations that `write_peft` writes; peft's own have many more.
_COMMON_KEYS = (
    "base_model_name_or_path", "inference_mode", "num_layers", "num_transformer_submodules", "num_virtual_tokens",
    "task_type", "peft_type", "token_dim", "num_attention_heads",
)  # fmt: skip
CONFIG_KEYS = {
    "PROMPT_TUNING": (*_COMMON_KEYS, "prompt_tuning_init"),
    "PREFIX_TUNING": (*_COMMON_KEYS, "prefix_projection", "encoder_hidden_size"),
}

#: peft lays a prompt in front of a row only where it knows the task; for a masked model it has none, and this one runs
#: the model as it is.
TASK_TYPES = {
    Kind.CAUSAL: "CAUSAL_LM",
    Kind.MASKED: "FEATURE_EXTRACTION",
    Kind.ENCODER_DECODER: "SEQ_2_SEQ_LM",
}


def flattened(prefix: Float[Tensor, "L 2 G P D"]) -> Float[Tensor, "P _"]:
    """A prefix in peft's order, `[P, 2·L·G·D]`."""
    return prefix.permute(3, 0, 1, 2, 4).flatten(1)


def unflattened(rows: Float[Tensor, "P _"], shape: ModelShape) -> Float[Tensor, "L 2 G P D"]:
    """A prefix from peft's order."""
    sizes = (rows.shape[0], shape.num_layers, 2, shape.num_kv_heads, shape.head_dim)
    return rows.reshape(sizes).permute(1, 2, 3, 0, 4)


def why_not(payload: Payload, shape: ModelShape, has_head: bool) -> str | None:
    """What peft cannot express about a prompt, or None."""
    if isinstance(payload, Prefix) and not shape.takes_cache:
        return "a prefix on this base model, whose network ignores the keys and values that peft hands it"
    if payload.placement is not Placement.BEFORE:
        return f"virtual tokens {payload.placement}: peft always puts them in front of everything"
    if has_head:
        return "the trained linear head: peft would answer without it"
    return None


def write_peft(payload: Payload, shape: ModelShape, base_name: str, has_head: bool = False) -> dict[str, bytes]:
    """The files of a peft adapter with this payload.

    Raises:
        NotExpressible: peft would read something else than what was trained.
    """
    if reason := why_not(payload, shape, has_head):
        raise NotExpressible(
            f"peft cannot express {reason}. Keep the prompt as it is, or compile it to a prefix "
            "(`SavedPrompt.compiled`, or `softprompt export --format prefix`)"
        )
    config: dict[str, Any] = {
        "base_model_name_or_path": base_name,
        "inference_mode": True,
        "num_layers": shape.num_layers,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": payload.num_virtual_tokens,
        "task_type": TASK_TYPES[shape.kind],
    }
    match payload:
        case Embeddings():
            tensor = payload.tensor
            config |= {
                "peft_type": "PROMPT_TUNING",
                "prompt_tuning_init": "RANDOM",  # peft only uses it to make a new prompt
                "token_dim": shape.embedding_size,
                "num_attention_heads": shape.num_kv_heads,
            }
        case Prefix():
            tensor = flattened(payload.tensor)
            config |= {
                "peft_type": "PREFIX_TUNING",
                "prefix_projection": False,
                "encoder_hidden_size": shape.embedding_size,
                "token_dim": shape.num_kv_heads * shape.head_dim,
                "num_attention_heads": shape.num_kv_heads,
            }
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    return {CONFIG: text.encode(), TENSORS: to_bytes({KEY: tensor})}


def read_peft_config(folder: Path) -> dict[str, Any]:
    """A peft adapter's configuration.

    Raises:
        NotASavedPrompt: there is no peft adapter in the folder.
        DamagedPrompt: its configuration is not JSON.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except OSError as error:
        raise NotASavedPrompt(f"{folder} holds no peft adapter: no {CONFIG}") from error
    except (ValueError, RecursionError) as error:
        raise DamagedPrompt(f"{folder / CONFIG} is damaged: {error}") from error
    if not isinstance(config, dict):
        raise DamagedPrompt(f"{folder / CONFIG} is damaged: no object in it")
    return config


def read_peft(folder: Path, shape: ModelShape, task: int | None = None) -> Payload:
    """The payload of a peft adapter that was trained with a method in `READABLE`; of several tasks, that of one.

    Raises:
        NotASavedPrompt: no adapter, or one of another kind.
        DamagedPrompt: truncated, NaN inside, or of shapes that do not fit the model.
    """
    config = read_peft_config(folder)
    kind, path = config.get("peft_type"), folder / TENSORS
    if kind not in READABLE:
        raise NotASavedPrompt(f"{folder} is a peft adapter of type {kind}: no soft prompt, so it cannot be imported")
    if kind == "PREFIX_TUNING" and shape.kind is Kind.ENCODER_DECODER:
        raise NotASavedPrompt(f"{folder} is a prefix for a decoder alone: there is none like it here, train one anew")
    tensors = parse_tensors(read_bytes(path), path)
    if kind == "MULTITASK_PROMPT_TUNING":
        tensors = _of_task(tensors, task, path)
    elif task is not None:
        raise NotASavedPrompt(f"{folder} is of one task ({kind}): leave out which")
    payload = payload_from(tensors, shape, path, is_prefix=kind == "PREFIX_TUNING")
    if isinstance(payload, Embeddings) and config.get("num_transformer_submodules") == 2:
        # peft keeps as many virtual tokens again for the decoder of an encoder-decoder, and never uses them.
        return payload.with_tensor(payload.tensor.chunk(2)[0])
    return payload


def _of_task(tensors: dict[str, Tensor], task: int | None, where: Path) -> dict[str, Tensor]:
    """One task's virtual tokens: the shared ones, element by element times the product of its own two factors.

    Raises:
        NotASavedPrompt: it was not said which task, or there is none such.
        DamagedPrompt: the factors are missing, or do not fit.
    """
    try:
        shared, columns, rows = (tensors[name] for name in (KEY, "prefix_task_cols", "prefix_task_rows"))
        products = shared * (columns @ rows)
    except (KeyError, RuntimeError) as error:
        raise DamagedPrompt(f"{where}: no shared prompt with factors for its tasks ({error})") from error
    if task is None or not 0 <= task < len(products):
        raise NotASavedPrompt(
            f"{where} holds {len(products)} tasks: name one with `task`, from 0 to {len(products) - 1}"
        )
    return {KEY: products[task]}


def payload_from(tensors: dict[str, Tensor], shape: ModelShape, where: Path, *, is_prefix: bool) -> Payload:
    """The payload in the tensors of the file `where`.

    Raises:
        DamagedPrompt: it is missing, or of shapes that do not fit the model.
    """
    rows = tensors.get(KEY)
    if rows is None:
        raise DamagedPrompt(f"{where} has no {KEY!r}")
    width = 2 * shape.num_layers * shape.num_kv_heads * shape.head_dim if is_prefix else shape.embedding_size
    if rows.ndim != 2 or rows.shape[0] == 0 or rows.shape[1] != width:
        raise DamagedPrompt(f"{where}: {KEY} is {list(rows.shape)}, this model needs [P, {width}]")
    return Prefix(unflattened(rows, shape)) if is_prefix else Embeddings(rows)
