"""`softprompt prompts check-sources`: distilled prompts whose text changed."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import (
    Distil,
    Softprompt,
)


def test_check_sources_names_prompts_whose_text_changed(
    distil: Distil, softprompt: Softprompt, instruction: Path, output: Path, tmp_path: Path
) -> None:
    assert distil("--num-virtual-tokens", "all", data=None).code == 0
    store = tmp_path / "store"
    assert softprompt("prompts", "add", output, "--name", "tone", "--store", store).code == 0
    [source] = softprompt("prompts", "check-sources", "--store", store, "--json").json["sources"]
    assert (source["version"], source["path"], source["state"]) == ("tone@1", str(instruction), "unchanged")
    instruction.write_text("another text", "utf-8")
    changed = softprompt("prompts", "check-sources", "--store", store)
    assert changed.code == 2
    assert "changed" in changed.out
