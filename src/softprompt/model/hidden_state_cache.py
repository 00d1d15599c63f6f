"""A cache of hidden states below the trained layers, shared by epochs, seeds, learning rates and runs.

If only the top layers of a prefix are trained, the hidden states below depend on text and frozen prefix only. Each
text is computed alone, so that its hidden states are the same in every batch, cached or not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from softprompt.model.payload import FrozenPrefix

ComputeHiddenStates = Callable[[Int[Tensor, "1 T"], FrozenPrefix], Float[Tensor, "1 T H"]]
"""Function from token ids and frozen prefix to the hidden states above the frozen layers."""


@runtime_checkable
class TensorStore(Protocol):
    """A store of tensors by key, which may evict them at any time."""

    def get(self, namespace: str, keys: Sequence[bytes]) -> dict[bytes, Tensor]:
        """Return the tensors of those keys that are stored."""

    def put(self, namespace: str, tensors: dict[bytes, Tensor]) -> None:
        """Store tensors, if possible."""


class HiddenStateCache:
    """The cached hidden states of one base model.

    Args:
        store: store of the tensors, shared with other models.
        model_key: identifies weights, precision and configuration.
    """

    def __init__(self, store: TensorStore, model_key: str):
        self.store, self.model_key = store, model_key

    def get_hidden_states(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Bool[Tensor, "B T"],
        frozen_prefixes: Sequence[FrozenPrefix],
        compute: ComputeHiddenStates,
    ) -> Float[Tensor, "B T H"]:
        """Return the hidden states above the frozen layers, of which all prefixes have equally many; 0 at padding."""
        texts = [ids[mask] for ids, mask in zip(input_ids, attention_mask, strict=True)]
        keys = [_compute_key(text, prefix) for text, prefix in zip(texts, frozen_prefixes, strict=True)]
        namespace = self._make_namespace(input_ids.device, len(frozen_prefixes[0].tensor))
        known = {key: states.to(input_ids.device) for key, states in self.store.get(namespace, keys).items()}
        new: dict[bytes, Tensor] = {}
        for key, text, prefix in zip(keys, texts, frozen_prefixes, strict=True):
            if key not in known:
                known[key] = new[key] = compute(text.unsqueeze(0), prefix)[0]
        if new:
            self.store.put(namespace, new)
        tokens = torch.cat([known[key] for key in keys])
        hidden_states = tokens.new_zeros(*input_ids.shape, tokens.shape[-1])
        hidden_states[attention_mask] = tokens
        return hidden_states

    def _make_namespace(self, device: torch.device, num_layers: int) -> str:
        """Name everything but text and frozen prefix that the hidden states depend on, to the last bit."""
        device_name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        libraries = f"torch {version('torch')}, transformers {version('transformers')}"
        return f"{self.model_key}, layer {num_layers}, {device_name}, {torch.get_num_threads()} threads, {libraries}"


def compute_config_digest(network: PreTrainedModel) -> str:
    """Hash what the network computes with besides its weights: configuration and attention implementation."""
    config = json.dumps(network.config.to_dict(), sort_keys=True, default=str)
    return f"{hashlib.sha256(config.encode()).hexdigest()[:16]} {network.config._attn_implementation}"


def _compute_key(token_ids: Int[Tensor, "T"], frozen_prefix: FrozenPrefix) -> bytes:
    return hashlib.sha256(frozen_prefix.digest + token_ids.cpu().numpy().tobytes()).digest()
