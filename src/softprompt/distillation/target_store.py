"""The file of a teacher's targets in the run folder, which a resumed run reads instead of asking the teacher again.

Its tensors are one row per example (`label_log_probs`), or of all responses behind one another (`response_ids`,
`response_lengths`, `top_token_ids`, `top_log_probs`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from softprompt.atomic import atomic_write_file
from softprompt.errors import translate_os_errors
from softprompt.tasks import EncodedExample
from softprompt.tasks.encoded_example import SoftLabelTarget, SoftResponseTarget, get_supervision

DIGEST_KEY = "digest"


def write_targets(path: Path, examples: Sequence[EncodedExample], digest: str) -> None:
    """Write the teacher's targets of examples.

    Args:
        path: File to write.
        examples: Examples with a teacher's probabilities, at least one.
        digest: Hash of everything that the targets depend on.

    Raises:
        DiskFull: The disk is full.
    """
    has_labels = isinstance(examples[0].supervision, SoftLabelTarget)
    tensors = _pack_labels(examples) if has_labels else _pack_responses(examples)
    with translate_os_errors(path):
        atomic_write_file(path, save(tensors, {DIGEST_KEY: digest}))


def read_targets(path: Path, examples: Sequence[EncodedExample], digest: str) -> list[EncodedExample] | None:
    """Add the targets of a file to the examples that they were made for.

    Returns:
        The examples with their targets; None if the file is missing, damaged, or has another digest.
    """
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get(DIGEST_KEY) != digest:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        unpack = _unpack_labels if "label_log_probs" in tensors else _unpack_responses
        return unpack(tensors, examples)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError):
        return None


def _pack_labels(examples: Sequence[EncodedExample]) -> dict[str, Tensor]:
    return {"label_log_probs": torch.stack([get_supervision(e, SoftLabelTarget).log_probs for e in examples])}


def _unpack_labels(tensors: dict[str, Tensor], examples: Sequence[EncodedExample]) -> list[EncodedExample]:
    return [
        replace(example, supervision=SoftLabelTarget(row, example.label_index))
        for example, row in zip(examples, tensors["label_log_probs"], strict=True)
    ]


def _pack_responses(examples: Sequence[EncodedExample]) -> dict[str, Tensor]:
    targets = [get_supervision(example, SoftResponseTarget) for example in examples]
    return {
        "response_lengths": torch.tensor([len(target.token_ids) for target in targets]),
        "response_ids": torch.tensor([token for target in targets for token in target.token_ids], dtype=torch.int32),
        "top_token_ids": torch.cat([target.top_token_ids for target in targets]).int(),
        "top_log_probs": torch.cat([target.top_log_probs for target in targets]),
    }


def _unpack_responses(tensors: dict[str, Tensor], examples: Sequence[EncodedExample]) -> list[EncodedExample]:
    lengths = tensors["response_lengths"].tolist()
    parts = (tensors[name].split(lengths) for name in ("response_ids", "top_token_ids", "top_log_probs"))
    return [
        replace(
            example,
            supervision=SoftResponseTarget(
                tuple(token_ids.tolist()), range(len(token_ids)), top_token_ids=top_ids.long(), top_log_probs=log_probs
            ),
        )
        for example, token_ids, top_ids, log_probs in zip(examples, *parts, strict=True)
    ]
