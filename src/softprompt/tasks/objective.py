"""The objective: a task bound to a model. Encodes examples, collates batches and computes losses for any task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from softprompt.data import Example
from softprompt.errors import RecordError
from softprompt.model import BatchPayloads, FrozenModel, Payload
from softprompt.model.branches import SequenceBranches
from softprompt.tasks.encoded_example import EncodedExample
from softprompt.tasks.example_batches import split_into_batches


@dataclass(frozen=True)
class Batch:
    """A batch of B examples as N sequences of T tokens, padded on the right, with the positions whose states are read.

    Attributes:
        input_ids: token ids, `[N, T]`; negative ids are placeholders of virtual tokens.
        attention_mask: false at padding, `[N, T]`.
        output_indices: indices `[R]` of the hidden states that are read, in the flattened `[N * T]`, and from N * T on
            in the flattened `[M * l]` of the branches.
        targets: token ids or tags `[R]`, labels `[B]`, or span ends `[2·B]`, as defined by the objective.
        example_weights: weight of each example, `[B]`: 1, or the number of its supervised tokens.
        sequences_per_example: N / B.
        branches: continuations of the sequences that share one computation of each sequence; None without branches.
    """

    input_ids: Int[Tensor, "N T"]
    attention_mask: Bool[Tensor, "N T"]
    output_indices: Int[Tensor, "R"]
    targets: Int[Tensor, "_"]
    example_weights: Float[Tensor, "B"]
    sequences_per_example: int = 1
    branches: SequenceBranches | None = None

    @property
    def output_mask(self) -> Bool[Tensor, "N T"]:
        """The tokens whose hidden states are read."""
        flat = torch.zeros(self.input_ids.numel(), dtype=torch.bool, device=self.input_ids.device)
        return flat.index_fill(0, self.output_indices[self.output_indices < len(flat)], True).view_as(self.input_ids)

    @property
    def useful_tokens(self) -> int:
        """The number of tokens that are neither padding nor virtual tokens."""
        num_branch_tokens = 0 if self.branches is None else int(self.branches.attention_mask.sum())
        return int((self.attention_mask & (self.input_ids >= 0)).sum()) + num_branch_tokens


class Objective(ABC):
    """A task bound to a model, as training and evaluation use it."""

    def __init__(self, model: FrozenModel):
        self.model = model

    @abstractmethod
    def encode_example(self, example: Example) -> EncodedExample:
        """Encode an example as token ids.

        Raises:
            RecordError: the example does not fit the task.
        """

    @property
    def num_extra_tokens(self) -> int:
        """The number of tokens that each example adds to a batch beside its own."""
        return 0

    def encode_examples(self, examples: Iterable[Example]) -> Iterator[EncodedExample]:
        """Encode examples in order, tokenized in batches. The result equals that of `encode_example` on each.

        Raises:
            RecordError: an example does not fit the task; the first of a batch is reported.
        """
        for batch in split_into_batches(examples):
            try:
                encoded_examples = self._encode_batch(batch)
            except RecordError:
                encoded_examples = [
                    self.encode_example(example) for example in batch
                ]  # raises for the first invalid example
            yield from encoded_examples

    def _encode_batch(self, examples: Sequence[Example]) -> list[EncodedExample]:
        """Encode a few examples. Objectives that can tokenize them in one call override this method."""
        return [self.encode_example(example) for example in examples]

    @abstractmethod
    def collate(self, examples: Sequence[EncodedExample], payloads: BatchPayloads) -> Batch:
        """Collate examples into a batch, each arranged around its payload."""

    @abstractmethod
    def compute_losses(self, hidden_states: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B"]:
        """Return each example's summed negative log-likelihood, to be divided by the weights of the batch."""

    @abstractmethod
    def compute_outputs(self, hidden_states: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B C"]:
        """Return what an evaluation keeps of each example, as input of `compute_metrics`."""

    @abstractmethod
    def compute_metrics(self, outputs: Float[Tensor, "N C"], examples: Sequence[EncodedExample]) -> dict[str, float]:
        """Compute metrics over all examples of an evaluation, the headline metric first."""

    @abstractmethod
    def score_examples(self, outputs: Float[Tensor, "N C"], examples: Sequence[EncodedExample]) -> list[float]:
        """Return a score per example, larger is better, for paired comparisons of two methods."""

    def find_unpredicted_labels(
        self,
        outputs: Float[Tensor, "N C"],  # noqa: ARG002
        examples: Sequence[EncodedExample],  # noqa: ARG002
    ) -> tuple[str, ...]:
        """Return labels that occur in the examples but are never predicted. Empty for tasks without labels."""
        return ()

    @abstractmethod
    def selection_key(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """Return the key by which checkpoints are compared; larger is better."""

    def extend_prefix(self, payload: Payload | None, examples: Sequence[EncodedExample]) -> Payload | None:
        """Append the ids that all examples share to a compiled payload, if that saves more than one pass costs."""
        shared = find_common_prefix(examples)
        if len(shared) * (len(examples) - 1) <= self.model.forward_budget.overhead:
            return payload
        return self.model.extend_prefix(payload, shared)

    def forward_batch(self, batch: Batch, payloads: BatchPayloads) -> Float[Tensor, "R H"]:
        """Run the model over a batch, each example after its payload, and return the hidden states to read."""
        if isinstance(payloads, Sequence):
            payloads = [payload for payload in payloads for _ in range(batch.sequences_per_example)]
        return gather_output_states(self.model, batch, payloads)


def gather_output_states(model: FrozenModel, batch: Batch, payloads: BatchPayloads) -> Float[Tensor, "R H"]:
    """Run the model over the sequences of a batch and gather the hidden states at `output_indices`."""
    if batch.branches is None:
        hidden_states = model.compute_hidden_states(batch.input_ids, batch.attention_mask, payloads, batch.output_mask)
        return hidden_states.flatten(0, 1)[batch.output_indices]
    sequence_and_branch_states = model.compute_branched_hidden_states(
        batch.input_ids, batch.attention_mask, payloads, batch.output_mask, batch.branches
    )
    return torch.cat([states.flatten(0, 1) for states in sequence_and_branch_states])[batch.output_indices]


def find_common_prefix(examples: Sequence[EncodedExample]) -> list[int]:
    """Return the ids that all prompts begin with, up to the first virtual token and the first position that is read."""
    shared = list(takewhile(lambda token: token >= 0, examples[0].prompt_ids))
    for example in examples:
        pairs = zip(shared, example.prompt_ids[: example.first_output_position], strict=False)
        shared = [first for first, _ in takewhile(lambda ids: ids[0] == ids[1], pairs)]
        if not shared:
            break
    return shared


def apply_payload(example: EncodedExample, payload: Payload | None) -> tuple[list[int], list[int]]:
    """Return an example's ids before the answer and after the answer, as arranged with its payload.

    Without a payload there are no virtual tokens, so the placeholders of template markers are dropped.
    """
    if payload is None:
        return [i for i in example.prompt_ids if i >= 0], [i for i in example.suffix_ids if i >= 0]
    return payload.apply_to_prompt(example.prompt_ids), example.suffix_ids


def get_payload(payloads: BatchPayloads, index: int) -> Payload | None:
    """Return the payload of the example at `index`."""
    return payloads[index] if isinstance(payloads, Sequence) else payloads


def pad_right(sequences: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Pad sequences on the right with id 0. Return the ids `[N, T]` and the attention mask `[N, T]`."""
    longest = max(map(len, sequences))
    ids = torch.tensor([[*sequence, *[0] * (longest - len(sequence))] for sequence in sequences], device=device)
    lengths = torch.tensor([len(sequence) for sequence in sequences], device=device)
    return ids, torch.arange(longest, device=device) < lengths.unsqueeze(1)
