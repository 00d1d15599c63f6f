"""A short name for a model's weights, the same on every device and in every floating-point precision.

It is a fingerprint, not a proof: it reads 256 numbers spread over each parameter, so that a model of many gigabytes is
known in a moment. Any fine-tuning changes it. An adversary who edits single weights could avoid it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from operator import itemgetter

import torch
from torch import Tensor
from transformers import PreTrainedModel

SAMPLES_PER_PARAMETER = 256


def compute_fingerprint(network: PreTrainedModel) -> str:
    """`sha256:` and 16 hexadecimal digits over the model's type and its parameters' names, shapes, some values."""
    samples = ((name, p.shape, sample_parameter(p.detach())) for name, p in network.named_parameters())
    return hash_samples(network.config.model_type, samples)


def hash_samples(model_type: str, samples: Iterable[tuple[str, torch.Size, Tensor]]) -> str:
    """The fingerprint of a model by what is sampled of it.

    Args:
        model_type: transformers' name of its family.
        samples: name, shape and `sampled` numbers of each parameter, in any order.
    """
    digest = hashlib.sha256(model_type.encode())
    for name, shape, values in sorted(samples, key=itemgetter(0)):
        digest.update(f"{name} {tuple(shape)} ".encode())
        digest.update(values.view(torch.int16).numpy().tobytes())
    return "sha256:" + digest.hexdigest()[:16]


def sample_parameter(parameter: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """The numbers of a parameter that go into the fingerprint, `[k]`.

    They are rounded to bfloat16, the coarsest precision that a base model is loaded in. Before that they are rounded to
    `dtype`, which a configuration may name whatever its files are in.
    """
    flat = parameter.flatten()
    at = torch.linspace(0, flat.numel() - 1, min(SAMPLES_PER_PARAMETER, flat.numel()), dtype=torch.float64).long()
    return flat[at.to(flat.device)].to("cpu", dtype).to(torch.bfloat16)
