"""The file of a teacher's targets."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from softprompt.distillation.target_store import read_targets, write_targets
from softprompt.errors import DiskFull
from softprompt.model import CausalModel
from softprompt.tasks import EncodedExample
from softprompt.tasks.encoded_example import SoftLabelTarget, SoftResponseTarget, get_supervision
from tests.distillation.targets import KINDS, teach
from tests.tiny import shared_model


def taught(kind: str) -> list[EncodedExample]:
    model = shared_model("llama")
    assert isinstance(model, CausalModel)
    return teach(model, kind)[1]


@pytest.mark.parametrize("kind", KINDS)
def test_read_targets_are_the_written_ones_bit_for_bit(kind: str, tmp_path: Path) -> None:
    examples, path = taught(kind), tmp_path / "t.safetensors"
    write_targets(path, examples, "sha256:1")
    inputs = [EncodedExample(example.prompt_ids) for example in examples]
    found = read_targets(path, inputs, "sha256:1")
    assert found is not None
    for one, other in zip(found, examples, strict=True):
        assert (one.prompt_ids, one.response_ids) == (other.prompt_ids, other.response_ids)
        if kind == "classification":
            assert torch.equal(*(get_supervision(e, SoftLabelTarget).log_probs for e in (one, other)))
        else:
            read, written = (get_supervision(e, SoftResponseTarget) for e in (one, other))
            assert torch.equal(read.top_log_probs, written.top_log_probs)
            assert torch.equal(read.top_token_ids, written.top_token_ids)
            assert list(read.loss_positions) == list(written.loss_positions)


@pytest.mark.parametrize("kind", KINDS)
def test_targets_of_another_run_and_damaged_files_are_not_read(kind: str, tmp_path: Path) -> None:
    examples, path = taught(kind), tmp_path / "t.safetensors"
    assert read_targets(path, examples, "sha256:1") is None
    write_targets(path, examples, "sha256:1")
    assert read_targets(path, examples, "sha256:2") is None
    content = path.read_bytes()
    for damaged in (b"", content[:7], content[: len(content) // 2], content[:-1], b"{}" * 50):
        path.write_bytes(damaged)
        assert read_targets(path, examples, "sha256:1") is None
    path.unlink()
    path.mkdir()
    assert read_targets(path, examples, "sha256:1") is None


@pytest.mark.parametrize("kind", KINDS)
def test_targets_that_do_not_fit_the_inputs_are_not_read(kind: str, tmp_path: Path) -> None:
    examples, path = taught(kind), tmp_path / "t.safetensors"
    write_targets(path, examples[:-1], "sha256:1")
    assert read_targets(path, examples, "sha256:1") is None
    write_targets(path, examples, "sha256:1")
    tensors = load_file(path)
    for name in tensors:
        cut = {each: tensor[:-1] if each == name else tensor for each, tensor in tensors.items()}
        save_file(cut, path, {"digest": "sha256:1"})
        assert read_targets(path, examples, "sha256:1") is None
        save_file({each: tensor for each, tensor in tensors.items() if each != name}, path, {"digest": "sha256:1"})
        assert read_targets(path, examples, "sha256:1") is None


def test_a_full_disk_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskFull, match="no space left"):
        write_targets(tmp_path / "t.safetensors", taught("generation"), "sha256:1")
    assert not list(tmp_path.iterdir())
