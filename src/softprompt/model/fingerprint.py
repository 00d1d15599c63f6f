"""Fingerprint of a model's weights, the same on every device and in every floating-point precision.

It is a fingerprint, not a proof: it samples 256 numbers of each parameter, so it takes a moment even for a model of
many gigabytes. Any fine-tuning changes it, but an adversary can edit weights that are not sampled.
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
    """Compute `sha256:` and 16 hexadecimal digits from a model's type and its parameters' names, shapes and samples."""
    samples = ((name, p.shape, sample_parameter(p.detach())) for name, p in network.named_parameters())
    return hash_samples(network.config.model_type, samples)


def hash_samples(model_type: str, samples: Iterable[tuple[str, torch.Size, Tensor]]) -> str:
    """Hash the samples of a model's parameters to its fingerprint.

    Args:
        model_type: transformers' name of the family.
        samples: name, shape and sampled numbers (`sample_parameter`) of each parameter, in any order.
    """
    digest = hashlib.sha256(model_type.encode())
    for name, shape, values in sorted(samples, key=itemgetter(0)):
        digest.update(f"{name} {tuple(shape)} ".encode())
        digest.update(values.view(torch.int16).numpy().tobytes())
    return "sha256:" + digest.hexdigest()[:16]


def sample_parameter(parameter: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return evenly spaced numbers of a parameter, `[k]`, in bfloat16.

    That is the coarsest precision in which a base model is loaded, so the fingerprint does not depend on the precision.

    Args:
        parameter: parameter to sample.
        dtype: precision that the configuration names, if the files may have another one; the numbers are rounded to it
            first, as loading does.
    """
    flat = parameter.flatten()
    index = torch.linspace(0, flat.numel() - 1, min(SAMPLES_PER_PARAMETER, flat.numel()), dtype=torch.float64).long()
    return flat[index.to(flat.device)].to("cpu", dtype).to(torch.bfloat16)
