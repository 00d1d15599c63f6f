"""Base class of the objectives that learn a teacher's probabilities instead of right answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from softprompt.data import Example
from softprompt.model import FrozenModel
from softprompt.tasks import EncodedExample, Objective

BaseObjective = TypeVar("BaseObjective", bound=Objective)


class DistillationObjective(Objective, Generic[BaseObjective]):
    """The Kullback-Leibler divergence of a model's probabilities from its teacher's (Hinton et al., arXiv 1503.02531).

    Examples have a teacher's probabilities as supervision.

    Args:
        base: objective of the task, which encodes and collates the examples.
    """

    def __init__(self, base: BaseObjective):
        super().__init__(base.model, base.max_length)
        self.base, self.task = base, base.task

    def with_model(self, model: FrozenModel) -> DistillationObjective[BaseObjective]:
        """See `Objective`."""
        objective = super().with_model(model)
        objective.base = self.base.with_model(model)
        return objective

    @property
    def num_extra_tokens(self) -> int:
        """The number of tokens that each example adds to a batch beside its own."""
        return self.base.num_extra_tokens

    def encode_example(self, example: Example) -> EncodedExample:
        """Encode an example of the task, without a teacher's probabilities."""
        return self.base.encode_example(example)

    def encode_examples(self, examples: Iterable[Example]) -> Iterator[EncodedExample]:
        """Encode examples of the task, without a teacher's probabilities."""
        return self.base.encode_examples(examples)
