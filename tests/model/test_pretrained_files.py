"""Code that comes with a model's files never runs, whichever function reads them and whatever is piped in."""

from __future__ import annotations

import inspect
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import softprompt
from softprompt import SoftPromptModel
from softprompt.errors import ModelError, ModelNotSupported, SettingError
from softprompt.model import load_model, pretrained_files
from softprompt.model.checkpoint_info import read_checkpoint_info
from softprompt.model.meta_model import load_meta_model
from tests.tiny import shared_model

EVIL = """
from pathlib import Path
Path({mark!r}).write_text("it ran")
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class Config(LlamaConfig):
    model_type = "evil"
class Model(LlamaForCausalLM):
    config_class = Config
class Tokenizer(PreTrainedTokenizerFast):
    pass
"""
CONFIG_CODE = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
TOKENIZER_CODE = {"AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"]}


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny Llama without custom code."""
    folder = tmp_path_factory.mktemp("honest") / "base"
    shared_model("llama").network.save_pretrained(folder)
    shared_model("llama").tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """File that the custom code would write; every question whether it may run is answered with yes."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 100))
    return tmp_path / "PWNED"


def with_code(honest: Path, mark: Path, config: dict[str, Any], tokenizer: dict[str, Any]) -> Path:
    folder = shutil.copytree(honest, mark.with_name("base"))
    (folder / "evil.py").write_text(EVIL.format(mark=str(mark)))
    for name, changes in (("config.json", config), ("tokenizer_config.json", tokenizer)):
        fields = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**fields, **changes}))
    return folder


#: What the files say, and whether the model can be read all the same, by transformers' own code.
TRAPS: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "an unknown type": ({"model_type": "evil", "auto_map": CONFIG_CODE}, {}, False),
    "no type": ({"model_type": None, "auto_map": CONFIG_CODE}, {}, False),
    "a known type": ({"auto_map": CONFIG_CODE}, {}, True),
    "a refused type": ({"model_type": "mamba", "auto_map": CONFIG_CODE}, {}, False),
    "a tokenizer": ({}, {"auto_map": TOKENIZER_CODE}, True),
    "a tokenizer of its own class": ({}, {"auto_map": TOKENIZER_CODE, "tokenizer_class": "Tokenizer"}, False),
    "everything": ({"auto_map": CONFIG_CODE}, {"auto_map": TOKENIZER_CODE, "tokenizer_class": "Tokenizer"}, False),
    "another's repository": ({"model_type": "evil", "auto_map": {"AutoConfig": "acme/evil--evil.Config"}}, {}, False),
    "a kernel of the Hub": ({"attn_implementation": "acme/evil"}, {}, False),
    "a kernel for each part": ({"_attn_implementation": {"": "eager", "text": "acme/evil"}}, {}, False),
}
READERS: dict[str, Callable[[str], object]] = {
    "load_model": load_model,
    "quantised": lambda name: load_model(name, dtype="int8"),
    "load_meta_model": load_meta_model,
    "read_checkpoint": lambda name: read_checkpoint_info(Path(name)),
    "SoftPromptModel": SoftPromptModel.from_pretrained,
}


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("reader", ["load_model", "load_meta_model"])
def test_loading_a_model_runs_no_code_from_its_files(honest: Path, mark: Path, trap: str, reader: str) -> None:
    config, tokenizer, is_readable = TRAPS[trap]
    folder = with_code(honest, mark, config, tokenizer)
    if is_readable:
        READERS[reader](str(folder))
    else:
        with pytest.raises(ModelNotSupported):
            READERS[reader](str(folder))
    assert not mark.exists()


@pytest.mark.parametrize("reader", ["quantised", "SoftPromptModel", "read_checkpoint"])
def test_no_reader_runs_code_from_a_model_folder(honest: Path, mark: Path, reader: str) -> None:
    folder = with_code(honest, mark, {"model_type": "evil", "auto_map": CONFIG_CODE}, {"auto_map": TOKENIZER_CODE})
    with pytest.raises((ModelError, SettingError)):
        READERS[reader](str(folder))
    assert not mark.exists()


def test_the_family_is_checked_before_transformers_reads_the_folder(
    honest: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_code(honest, mark, {"model_type": "evil", "auto_map": CONFIG_CODE}, {})
    monkeypatch.setattr(pretrained_files.AutoConfig, "from_pretrained", lambda *_, **__: pytest.fail("it was asked"))
    with pytest.raises(ModelNotSupported, match="type 'evil' .* the code that comes with it is never run"):
        load_model(str(folder))


def test_modules_read_models_through_pretrained_files_only() -> None:
    """Only one module passes the flags, so all others must use that module."""
    source = Path(inspect.getfile(softprompt)).parent
    auto = [
        f"{path.relative_to(source)}: {name}"
        for path in source.rglob("*.py")
        for name in ("AutoConfig", "AutoTokenizer", "AutoProcessor", "AutoModel", "trust_remote_code", "AutoPeftModel")
        if name in path.read_text("utf-8")
        and path.name not in ("pretrained_files.py", "auto_classes.py", "model_card.py")
    ]
    assert auto == []
