"""The objective: a task bound to a model. Encodes examples, collates batches and computes losses for any task."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from jaxtyping import Float
from pydantic import BaseModel
from torch import Tensor

from softprompt.data import Example
from softprompt.errors import RecordError
from softprompt.model import BatchPayloads, FrozenModel, Payload
from softprompt.tasks.collation import Batch, find_common_prefix, gather_output_states
from softprompt.tasks.encoded_example import EncodedExample
from softprompt.tasks.example_batches import split_into_batches

ObjectiveT = TypeVar("ObjectiveT", bound="Objective")


class Objective(ABC):
    """A task bound to a model, as training and evaluation use it.

    Attributes:
        model: the frozen base model.
        task: the task, as the manifest stores it.
        max_length: maximum length of an encoded example, in tokens.
    """

    task: BaseModel

    def __init__(self, model: FrozenModel, max_length: int):
        self.model, self.max_length = model, max_length

    def with_model(self: ObjectiveT, model: FrozenModel) -> ObjectiveT:
        """Return a copy that uses another copy of the model, such as one with a tokenizer for another thread."""
        objective = copy.copy(self)
        objective.model = model
        return objective

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
