"""A call with a wrong type or shape does not pass while tests run, though most functions are checked the light way."""

from __future__ import annotations

import jaxtyping
import pytest
import torch
from beartype.roar import BeartypeCallHintViolation

from softprompt.data import Example
from softprompt.model import Embeddings, FrozenModel
from softprompt.tasks.passes import cut


def test_a_function_without_arrays(model: FrozenModel) -> None:
    with pytest.raises(BeartypeCallHintViolation):
        cut([3], model, most="7")


def test_a_class_of_data_without_arrays() -> None:
    with pytest.raises(BeartypeCallHintViolation):
        Example(["no fields"])


def test_a_class_of_data_with_an_array() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        Embeddings(torch.zeros(3))


def test_axes_of_several_arrays_agree(model: FrozenModel) -> None:
    ids = torch.zeros(2, 5, dtype=torch.long)
    with pytest.raises(jaxtyping.TypeCheckError, match="T=5"):
        model.hidden(ids, torch.ones(2, 4, dtype=torch.bool), None)
