"""Runtime checks of types and shapes in tests, including the lighter checks of functions without arrays."""

from __future__ import annotations

import jaxtyping
import pytest
import torch
from beartype.roar import BeartypeCallHintViolation

from softprompt.data import Example
from softprompt.model import FrozenModel, PromptEmbeddings
from softprompt.tasks.length_buckets import bucket_by_length


def test_wrong_types_of_a_function_without_arrays_are_rejected(model: FrozenModel) -> None:
    with pytest.raises(BeartypeCallHintViolation):
        bucket_by_length([3], model, max_batch_size="7")


def test_wrong_types_of_a_dataclass_without_arrays_are_rejected() -> None:
    with pytest.raises(BeartypeCallHintViolation):
        Example(["no fields"])


def test_wrong_shapes_of_a_dataclass_are_rejected() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        PromptEmbeddings(torch.zeros(3))


def test_inconsistent_axes_are_rejected(model: FrozenModel) -> None:
    ids = torch.zeros(2, 5, dtype=torch.long)
    with pytest.raises(jaxtyping.TypeCheckError, match="T=5"):
        model.compute_hidden_states(ids, torch.ones(2, 4, dtype=torch.bool), None)
