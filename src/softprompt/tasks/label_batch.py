"""Collate examples with the paths of a label scorer: as branches of one sequence, or as sequences of their own."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from softprompt.model import BatchPayloads, FrozenModel, KVPrefix, Payload
from softprompt.tasks.branch_batch import collate_branches
from softprompt.tasks.collation import Batch, apply_payload, get_payload, pad_right
from softprompt.tasks.encoded_example import EncodedExample
from softprompt.tasks.label_scorers.label_scorer import LabelScorer


def collate_label_paths(
    model: FrozenModel, examples: Sequence[EncodedExample], payloads: BatchPayloads, label_scorer: LabelScorer
) -> Batch:
    """Collate examples with output positions at the nodes of the label scorer.

    Several paths become branches of one sequence per example, if the model supports branches and that is cheaper.
    Otherwise there is one sequence per example and path.
    """
    if _should_branch(model, examples, payloads, label_scorer) and model.supports_branches(payloads):
        return collate_branches(model, examples, payloads, label_scorer)
    return collate_sequences(model, examples, payloads, label_scorer)


def _should_branch(
    model: FrozenModel, examples: Sequence[EncodedExample], payloads: BatchPayloads, label_scorer: LabelScorer
) -> bool:
    """Return whether the tokens saved by branches cost more than the additional forward pass of the branches."""
    num_computed_tokens = sum(
        len(example) - _count_known_ids(get_payload(payloads, i)) for i, example in enumerate(examples)
    )
    return (len(label_scorer.appended_paths) - 1) * num_computed_tokens > model.forward_budget.overhead


def _count_known_ids(payload: Payload | None) -> int:
    """Return the number of leading ids of each prompt that the payload already contains."""
    return payload.has_bos + payload.num_shared_tokens if isinstance(payload, KVPrefix) else 0


def collate_sequences(
    model: FrozenModel, examples: Sequence[EncodedExample], payloads: BatchPayloads, label_scorer: LabelScorer
) -> Batch:
    """Collate one sequence per example and path."""
    arranged = [apply_payload(example, get_payload(payloads, i)) for i, example in enumerate(examples)]
    paths = label_scorer.appended_paths
    input_ids, attention_mask = pad_right(
        [[*prompt, *path, *suffix] for prompt, suffix in arranged for path in paths], model.device
    )
    output_indices = [
        (i * len(paths) + path) * input_ids.shape[1] + len(prompt) + label_scorer.first_output_offset + depth
        for i, (prompt, _) in enumerate(arranged)
        for path, depth in label_scorer.output_nodes
    ]
    return Batch(
        input_ids,
        attention_mask,
        output_indices=torch.tensor(output_indices, device=input_ids.device),
        targets=torch.tensor([example.label_index for example in examples], device=input_ids.device),
        example_weights=torch.ones(len(examples), device=input_ids.device),
        sequences_per_example=len(paths),
    )
