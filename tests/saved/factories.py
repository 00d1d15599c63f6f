"""Saved prompts for tests, and forged changes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from softprompt.model import FrozenModel, ModelKind, ModelShape, Payload
from softprompt.saved import Manifest, SavedPrompt
from softprompt.saved.manifest import MANIFEST_FILE
from softprompt.saved.tensor_files import compute_sha256, serialize_tensors
from softprompt.tasks import ClassificationTask, LinearHead
from tests.strategies import random_embeddings
from tests.tiny import shared_model

TASK = ClassificationTask(labels=("good", "bad"), template="Review: {text}\nIt is")

#: Shape of a causal model whose sizes all differ.
SHAPE = ModelShape(
    kind=ModelKind.CAUSAL,
    num_layers=3,
    num_kv_heads=2,
    head_dim=5,
    hidden_size=20,
    embedding_size=20,
    vocab_size=100,
    window=64,
)


def numbered(*shape: int) -> Tensor:
    """Make a tensor whose elements are 0, 1, 2 and so on."""
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).view(shape)


def make(
    payload: Payload | None = None,
    *,
    model: FrozenModel | None = None,
    head: LinearHead | None = None,
    method: str = "prompt",
) -> SavedPrompt:
    """Make a saved prompt of three virtual tokens in memory."""
    model = model or shared_model("llama")
    return SavedPrompt.from_payload(
        model,
        payload or random_embeddings(model, 3, seed=0),
        TASK,
        method={"name": method, "init": "text", "seed": 0},
        trained_parameters=72,
        metrics={"step": 5, "validation": {"accuracy": 0.75, "loss": 0.5}},
        head=head,
    )


def random_head(model: FrozenModel, labels: int = 2) -> LinearHead:
    """Make a linear head with random weights."""
    head = LinearHead(labels, model.shape.hidden_size)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return head


def content(folder: Path) -> dict[str, bytes]:
    """Read every file of a folder, hidden ones included."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def forge(folder: Path, tensors: dict[str, Tensor] | bytes | None = None, **changes: Any) -> None:
    """Change a saved prompt and recompute its hashes, as an attacker would."""
    manifest = Manifest.from_folder(folder)
    [file] = folder.glob("*.safetensors")
    if tensors is not None:
        file.write_bytes(tensors if isinstance(tensors, bytes) else serialize_tensors(tensors))
    changes["tensors_sha256"] = compute_sha256(file.read_bytes())
    (folder / MANIFEST_FILE).write_text(
        manifest.model_copy(update=changes).with_content_hash().to_json(), encoding="utf-8"
    )
