"""A saved prompt and the base model it is for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from softprompt.cli.output import notes
from softprompt.cli.progress_lines import busy
from softprompt.collection_pause import pause_collection

if TYPE_CHECKING:
    from softprompt.model import FrozenModel
    from softprompt.saved import SavedPrompt


@pause_collection()
def load(folder: Path, model: str | None, device: str, dtype: str) -> tuple[SavedPrompt, FrozenModel]:
    """Read the prompt first: it is quick, and its complaints should not wait for the model."""
    from softprompt.saved import SavedPrompt

    prompt = SavedPrompt.read(folder)
    from softprompt.model import load_model

    name = model or prompt.manifest.base.name
    with busy(notes, f"loading {name}"):
        return prompt, load_model(name, device=device, dtype=dtype)


def load_all(
    folders: Sequence[Path], model: str | None, device: str, dtype: str
) -> tuple[SavedPrompt | list[SavedPrompt], FrozenModel]:
    """The prompt, or the prompts that answer together, and the base model of the first."""
    from softprompt.saved import SavedPrompt

    others = [SavedPrompt.read(folder) for folder in folders[1:]]
    first, base = load(folders[0], model, device, dtype)
    return [first, *others] if others else first, base
