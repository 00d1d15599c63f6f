"""Gradients of soft prompts. The prompt is compiled once per step, however many examples and micro-batches follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from softprompt.model import Payload
from softprompt.prompts import SoftPrompt
from softprompt.tasks import EncodedExample, Objective
from softprompt.tasks.length_buckets import bucket_by_length
from softprompt.training.micro_batches import MicroBatch, MicroBatchLimit, run_micro_batches
from softprompt.training.trainable import BatchLoss

#: Maximum number of prompt positions whose graph through the model is held for the backward pass at once.
MAX_PREFIX_POSITIONS = 4096


@dataclass(frozen=True)
class PromptBatch:
    """Examples of a step for one prompt.

    Attributes:
        prompt: Prompt to train.
        objective: Objective of the prompt's run.
        examples: Examples of the step.
        batch_size: Maximum number of examples in a micro-batch.
    """

    prompt: SoftPrompt
    objective: Objective
    examples: Sequence[EncodedExample]
    batch_size: int


def accumulate_gradients(prompt_batches: Sequence[PromptBatch], limit: MicroBatchLimit) -> list[BatchLoss]:
    """Add the gradient of each batch's mean loss to its prompt's parameters.

    The prompt, and what all examples of a batch begin with, are run once, not once per example or micro-batch: the
    micro-batches sum their gradients at the compiled payload, and one backward pass continues to the parameters. An
    auxiliary loss of the prompt contributes to the gradient only, so that the losses of all methods are comparable.

    Args:
        prompt_batches: Batch of each prompt.
        limit: Limit of sequences in a pass, which shrinks when memory runs out.
    """
    losses: list[BatchLoss] = []
    group: list[tuple[PromptBatch, dict[int, Payload]]] = []
    for prompt_batch in prompt_batches:
        group.append((prompt_batch, _compile_payloads(prompt_batch)))
        num_positions = sum(payload.num_positions for _, payloads in group for payload in payloads.values())
        if prompt_batch is prompt_batches[-1] or num_positions >= MAX_PREFIX_POSITIONS:
            losses += _accumulate_group(group, limit)
            group = []
    return losses


def _accumulate_group(
    group: Sequence[tuple[PromptBatch, dict[int, Payload]]], limit: MicroBatchLimit
) -> list[BatchLoss]:
    """Run the examples of several batches after their compiled payloads."""
    batch_losses: list[BatchLoss] = []
    leaves = [{task: _detach_leaf(payload) for task, payload in payloads.items()} for _, payloads in group]
    micro_batches = [
        _make_micro_batches(prompt_batch, batch_leaves)
        for (prompt_batch, _), batch_leaves in zip(group, leaves, strict=True)
    ]
    all_micro_batches = [micro for batch_micros in micro_batches for micro in batch_micros]
    losses = {id(micro): loss for micro, loss in run_micro_batches(all_micro_batches, limit)}
    for (prompt_batch, payloads), batch_leaves, batch_micros in zip(group, leaves, micro_batches, strict=True):
        tensors = [payload.tensor for payload in payloads.values()]
        torch.autograd.backward(tensors, [leaf.tensor.grad for leaf in batch_leaves.values()])
        auxiliary_loss = prompt_batch.prompt.compute_auxiliary_loss(prompt_batch.objective.model)
        if auxiliary_loss is not None:
            auxiliary_loss.backward()
        batch_losses.append(
            BatchLoss(
                sum(losses[id(micro)] for micro in batch_micros),
                sum(micro.batch.useful_tokens for micro in batch_micros),
                batch_micros[0].weight,
                0.0 if auxiliary_loss is None else float(auxiliary_loss.detach()),
            )
        )
    return batch_losses


def _make_micro_batches(prompt_batch: PromptBatch, leaves: Mapping[int, Payload]) -> list[MicroBatch]:
    objective, examples = prompt_batch.objective, prompt_batch.examples
    lengths = [len(example) + objective.num_extra_tokens for example in examples]
    buckets = bucket_by_length(lengths, objective.model, prompt_batch.batch_size)
    splits = [[examples[i] for i in bucket] for bucket in buckets]
    payloads = [[leaves[example.task_index] for example in split] for split in splits]
    batches = [objective.collate(split, split_payloads) for split, split_payloads in zip(splits, payloads, strict=True)]
    weight = sum(float(batch.example_weights.sum()) for batch in batches)
    head_parameters = [] if prompt_batch.prompt.head is None else list(prompt_batch.prompt.head.parameters())
    sequence_payloads = [
        [payload for payload in split_payloads for _ in range(batch.sequences_per_example)]
        for batch, split_payloads in zip(batches, payloads, strict=True)
    ]
    return [
        MicroBatch(objective, batch, batch_payloads, head_parameters, weight)
        for batch, batch_payloads in zip(batches, sequence_payloads, strict=True)
    ]


def _detach_leaf(payload: Payload) -> Payload:
    """Detach a payload from its graph, as a leaf that accumulates gradient."""
    return payload.with_tensor(payload.tensor.detach().requires_grad_())


def _compile_payloads(prompt_batch: PromptBatch) -> dict[int, Payload]:
    """Compile the payload of each task in the batch, extended by what all examples of the task begin with."""
    payloads: dict[int, Payload] = {}
    for task in sorted({example.task_index for example in prompt_batch.examples}):
        payload = prompt_batch.objective.model.compile_payload(prompt_batch.prompt.payload_for(task))
        task_examples = [example for example in prompt_batch.examples if example.task_index == task]
        payloads[task] = prompt_batch.objective.extend_prefix(payload, task_examples) or payload
    return payloads
