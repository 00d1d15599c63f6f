"""Tensor files: equal numbers give equal bytes, and invalid files are rejected."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from softprompt.errors import CorruptPrompt
from softprompt.saved.tensor_files import compute_sha256, deserialize_tensors, read_prompt_file, serialize_tensors

WHERE = Path("a.safetensors")


def test_a_written_tensor_file_is_read_unchanged() -> None:
    tensors = {"b": torch.randn(2, 3), "a": torch.tensor([1.5])}
    found = deserialize_tensors(serialize_tensors(tensors), WHERE)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_the_order_of_names_does_not_change_the_bytes() -> None:
    one, two = torch.ones(2), torch.zeros(3)
    assert serialize_tensors({"one": one, "two": two}) == serialize_tensors({"two": two, "one": one})


def test_views_and_tensors_with_gradients_are_written_by_value() -> None:
    tensor = torch.arange(6.0).view(2, 3).requires_grad_()
    assert serialize_tensors({"a": tensor.T}) == serialize_tensors({"a": torch.tensor([[0.0, 3], [1, 4], [2, 5]])})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_every_precision_is_read_as_float32(dtype: torch.dtype) -> None:
    tensor = torch.tensor([0.5, -2.0])
    assert torch.equal(deserialize_tensors(save({"a": tensor.to(dtype)}), WHERE)["a"], tensor)


def test_a_value_beyond_the_range_of_float32_is_rejected() -> None:
    with pytest.raises(CorruptPrompt, match="a contains NaN or infinite values"):
        deserialize_tensors(save({"a": torch.tensor([1e300], dtype=torch.float64)}), WHERE)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_non_finite_numbers_are_rejected(number: float) -> None:
    with pytest.raises(CorruptPrompt, match=r"^a\.safetensors: b contains NaN or infinite values$"):
        deserialize_tensors(save({"a": torch.ones(2), "b": torch.tensor([0.0, number])}), WHERE)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64, torch.uint8])
def test_tensors_that_are_not_floating_point_are_rejected(dtype: torch.dtype) -> None:
    with pytest.raises(CorruptPrompt, match=f"a has the dtype {dtype}, not a floating-point one"):
        deserialize_tensors(save({"a": torch.ones(2, dtype=dtype)}), WHERE)


@given(content=st.binary(max_size=200))
def test_random_bytes_are_rejected(content: bytes) -> None:
    with pytest.raises(CorruptPrompt, match="is not a valid safetensors file"):
        deserialize_tensors(content, WHERE)


def test_a_file_with_the_wrong_hash_is_rejected() -> None:
    content = serialize_tensors({"a": torch.ones(2)})
    assert deserialize_tensors(content, WHERE, compute_sha256(content))
    with pytest.raises(CorruptPrompt, match="its hash does not match the manifest"):
        deserialize_tensors(content, WHERE, compute_sha256(content + b"\0"))


def test_a_hash_starts_with_the_name_of_its_algorithm() -> None:
    assert compute_sha256(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_reading_a_missing_file_or_a_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(CorruptPrompt, match="gone cannot be read: No such file"):
        read_prompt_file(tmp_path / "gone")
    with pytest.raises(CorruptPrompt, match="cannot be read: Is a directory"):
        read_prompt_file(tmp_path)
