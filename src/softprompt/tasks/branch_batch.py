"""Collate examples with several label paths: each prompt is computed once, and the paths continue as branches."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from softprompt.model import BatchPayloads, FrozenModel
from softprompt.model.branches import SequenceBranches
from softprompt.tasks.collation import Batch, apply_payload, get_payload, pad_right
from softprompt.tasks.encoded_example import EncodedExample
from softprompt.tasks.label_scorers.label_scorer import LabelScorer


def collate_branches(
    model: FrozenModel,
    examples: Sequence[EncodedExample],
    payloads: BatchPayloads,
    label_scorer: LabelScorer,
    path_range: range | None = None,
) -> Batch:
    """Collate one sequence per example, and each path of the label scorer as a branch of every example.

    Args:
        model: the frozen base model.
        examples: examples to collate.
        payloads: payload of all examples, or one per example.
        label_scorer: label scorer whose paths are appended.
        path_range: indices of the paths to use, whose nodes are then read path by path; None for all paths.
    """
    chosen_paths = (
        label_scorer.appended_paths
        if path_range is None
        else label_scorer.appended_paths[path_range.start : path_range.stop]
    )
    nodes = label_scorer.output_nodes if path_range is None else select_nodes(label_scorer, path_range)
    prompts = [apply_payload(example, get_payload(payloads, i))[0] for i, example in enumerate(examples)]
    input_ids, attention_mask = pad_right(prompts, model.device)
    B, T, M = *input_ids.shape, len(chosen_paths)
    path_ids, path_mask = pad_right(chosen_paths, model.device)
    path_length = path_ids.shape[1]
    example_indices = torch.arange(B, device=input_ids.device).unsqueeze(1)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=input_ids.device).unsqueeze(1)
    paths, depths = torch.tensor(nodes, device=input_ids.device).unbind(dim=1)
    sequence_indices = example_indices * T + lengths + label_scorer.first_output_offset
    branch_indices = B * T + (example_indices * M + paths) * path_length + depths - 1
    return Batch(
        input_ids,
        attention_mask,
        output_indices=torch.where(depths == 0, sequence_indices, branch_indices).flatten(),
        targets=torch.tensor([example.label_index for example in examples], device=input_ids.device),
        example_weights=torch.ones(B, device=input_ids.device),
        branches=SequenceBranches(
            path_ids.repeat(B, 1), path_mask.repeat(B, 1), example_indices.flatten().repeat_interleave(M)
        ),
    )


def select_nodes(label_scorer: LabelScorer, path_range: range) -> list[tuple[int, int]]:
    """Return the nodes of a range of paths, ordered by path; path indices are relative to the range."""
    nodes = [(path - path_range.start, depth) for path, depth in label_scorer.output_nodes if path in path_range]
    return sorted(nodes, key=lambda node: node[0])
