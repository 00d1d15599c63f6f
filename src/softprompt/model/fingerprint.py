"""A short name for a model's weights, the same on every device and in every floating-point precision.

It is a fingerprint, not a proof: it reads 256 numbers spread over each parameter, so that a model of many gigabytes is
known in a moment. Any fine-tuning changes it. An adversary who edits single weights could avoid it.
"""

from __future__ import annotations

import hashlib

import torch
from transformers import PreTrainedModel

SAMPLES = 256


def fingerprint(network: PreTrainedModel) -> str:
    """`sha256:` and 16 hexadecimal digits over the model's type and all parameters' names, shapes and sampled values.

    Values are rounded to bfloat16 first, the coarsest precision that a base model is loaded in.
    """
    digest = hashlib.sha256(network.config.model_type.encode())
    for name, parameter in sorted(network.named_parameters()):
        flat = parameter.detach().flatten()
        at = torch.linspace(0, flat.numel() - 1, min(SAMPLES, flat.numel()), dtype=torch.float64).long()
        values = flat[at.to(flat.device)].to("cpu", torch.bfloat16)
        digest.update(f"{name} {tuple(parameter.shape)} ".encode())
        digest.update(values.view(torch.int16).numpy().tobytes())
    return "sha256:" + digest.hexdigest()[:16]
