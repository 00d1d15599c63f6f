"""Even with `y` piped in, no command runs code of a base model, named by the command line or by a saved prompt."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest

from softprompt.saved import Manifest
from tests.cli.conftest import Softprompt
from tests.saved.factories import forge


@pytest.fixture
def trap(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a model with code that writes a file next to it."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 100))
    folder = shutil.copytree(base, tmp_path / "trap")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'PWNED')!r}, 'w').close()\n")
    for name in ("config.json", "tokenizer_config.json"):
        fields = json.loads((folder / name).read_text())
        code = dict.fromkeys(("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer"), "evil.Evil")
        (folder / name).write_text(json.dumps({**fields, "model_type": "evil", "auto_map": code}))
    return folder


@pytest.mark.parametrize("command", ["tune", "compare", "evaluate", "classify", "show", "compose"])
def test_no_command_runs_code_of_the_base_model(
    softprompt: Softprompt, classifier: Path, reviews: Path, trap: Path, tmp_path: Path, command: str
) -> None:
    data = ("--data", reviews)
    line = {
        "tune": (*data, "--output", tmp_path / "p"),
        "compare": (*data, "--validation", reviews, "--test", reviews, "--allow-overlap", "--output", tmp_path / "c"),
        "evaluate": (classifier, *data),
        "classify": (classifier, "a text"),
        "show": (classifier,),
        "compose": (classifier, classifier, "--output", tmp_path / "p"),
    }[command]
    softprompt(command, *line, "--model", trap).refused("type 'evil' are not supported", "is never run")
    assert not (tmp_path / "PWNED").exists()


def test_generate_does_not_run_code_of_a_base_model_that_a_saved_prompt_names(
    softprompt: Softprompt, writer: Path, trap: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(writer, tmp_path / "p")
    forge(folder, base=Manifest.from_folder(folder).base.model_copy(update={"name": str(trap)}))
    config = json.loads((folder / "adapter_config.json").read_text())
    text = json.dumps({**config, "base_model_name_or_path": str(trap)}, indent=2, sort_keys=True)
    (folder / "adapter_config.json").write_text(text + "\n")
    softprompt("generate", folder, "--prompt", "hello").refused("type 'evil' are not supported")
    assert not (tmp_path / "PWNED").exists()
