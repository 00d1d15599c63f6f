"""GGUF files give the same weights as transformers' own reader, without all weights in memory at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from softprompt.errors import ModelNotFound
from softprompt.model import gguf_file as module
from softprompt.model.gguf_file import GGUFFile
from tests.gguf_files import ARCHITECTURES, CHAT_TEMPLATE, gguf_file
from tests.tiny import tiny_model

TEXTS = ["the film was great", " awful\n\n12", "<s>a bore</s>", "很好 😀", ""]


def nothing(done: int, total: int) -> None:
    """Ignore the progress."""


def unpack(path: Path) -> Path:
    folder = path.with_suffix(".folder")
    GGUFFile(path).unpack_to_folder(folder, nothing)
    return folder


@pytest.mark.parametrize("quantize", [False, True])
@pytest.mark.parametrize("family", ARCHITECTURES)
def test_the_unpacked_folder_loads_the_weights_that_transformers_reads_from_the_file(
    tmp_path: Path, family: str, quantize: bool
) -> None:
    path = gguf_file(tmp_path / "tiny.gguf", family, quantize=quantize)
    direct: Any = {"gguf_file": path.name}
    ours = AutoModelForCausalLM.from_pretrained(unpack(path))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, **direct)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor), name
    assert ours.config.to_diff_dict().keys() >= {"hidden_size", "vocab_size"}
    assert ours.generation_config.eos_token_id == theirs.generation_config.eos_token_id


def test_unpacked_weights_equal_those_written_to_the_file(tmp_path: Path) -> None:
    folder = unpack(gguf_file(tmp_path / "tiny.gguf"))
    written = tiny_model("llama").network.state_dict()
    for name, tensor in AutoModelForCausalLM.from_pretrained(folder).state_dict().items():
        assert torch.equal(tensor, written[name]), name


def test_weights_unpacked_into_several_shards_equal_those_written_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHARD_BYTES", 20_000)
    folder = unpack(gguf_file(tmp_path / "tiny.gguf"))
    assert len(list(folder.glob("*.safetensors"))) > 2
    written = tiny_model("llama").network.state_dict()
    for name, tensor in AutoModelForCausalLM.from_pretrained(folder).state_dict().items():
        assert torch.equal(tensor, written[name]), name


def test_the_unpacked_tokenizer_equals_the_one_that_transformers_reads_from_the_file(tmp_path: Path) -> None:
    path = gguf_file(tmp_path / "tiny.gguf")
    direct: Any = {"gguf_file": path.name}
    theirs, ours = AutoTokenizer.from_pretrained(tmp_path, **direct), AutoTokenizer.from_pretrained(unpack(path))
    for text in TEXTS:
        for arguments in ({}, {"split_special_tokens": True}):
            assert ours(text, **arguments).input_ids == theirs(text, **arguments).input_ids
    assert ours.chat_template == theirs.chat_template == CHAT_TEMPLATE
    assert ours.eos_token_id == theirs.eos_token_id == 1


def test_end_of_turn_tokens_of_the_file_become_eos_tokens(tmp_path: Path) -> None:
    path = gguf_file(tmp_path / "tiny.gguf", tokenizer__ggml__eot_token_id=5, tokenizer__ggml__eom_token_id=1)
    assert GenerationConfig.from_pretrained(unpack(path)).eos_token_id == [1, 5]


def test_a_file_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    build = gguf.GGUFReader._build_fields
    monkeypatch.setattr(gguf.GGUFReader, "_build_fields", lambda *a: (parsed.append(a), build(*a))[1])
    unpack(gguf_file(tmp_path / "tiny.gguf"))
    assert len(parsed) == 1


def test_unpacking_reports_increasing_progress_up_to_all_bytes(tmp_path: Path) -> None:
    said: list[tuple[int, int]] = []
    source = GGUFFile(gguf_file(tmp_path / "tiny.gguf"))
    source.unpack_to_folder(tmp_path / "folder", lambda done, total: said.append((done, total)))
    assert said[-1] == (source.num_bytes, source.num_bytes)
    assert sorted(said) == said
    assert len(said) > 10


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.001, 0.1, 0.5, 0.99])
def test_a_truncated_gguf_file_raises_model_not_found(tmp_path: Path, share: float) -> None:
    path = gguf_file(tmp_path / "tiny.gguf")
    cut(path, share)
    with pytest.raises(ModelNotFound, match=r"tiny\.gguf cannot be read as a GGUF model.*is the file whole"):
        unpack(path)


def test_a_file_of_another_format_raises_model_not_found(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_text("version https://git-lfs.github.com/spec/v1\n" * 9)
    with pytest.raises(ModelNotFound, match=r"tiny\.gguf cannot be read as a GGUF model"):
        unpack(tmp_path / "tiny.gguf")


def test_one_part_of_a_split_gguf_file_is_rejected_with_advice_to_merge(tmp_path: Path) -> None:
    path = gguf_file(tmp_path / "tiny-00002-of-00003.gguf", split__no=1, split__count=3)
    with pytest.raises(ModelNotFound, match="part 2 of 3; merge them"):
        GGUFFile(path)
