"""Loads saved prompts together with their base model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from softprompt.cli.console import stderr_console
from softprompt.cli.progress_lines import show_activity
from softprompt.gc_pause import pause_gc

if TYPE_CHECKING:
    from softprompt.model import FrozenModel
    from softprompt.saved import SavedPrompt


@pause_gc()
def load_prompt_and_model(folder: Path, model: str | None, device: str, dtype: str) -> tuple[SavedPrompt, FrozenModel]:
    """Load a saved prompt and its base model. The prompt comes first, because its errors should not wait for the model."""
    from softprompt.saved import SavedPrompt

    prompt = SavedPrompt.from_folder(folder)
    from softprompt.model import load_model

    name = model or prompt.manifest.base.name
    with show_activity(stderr_console, f"loading {name}"):
        return prompt, load_model(name, device=device, dtype=dtype)


def load_prompts_and_model(
    folders: Sequence[Path], model: str | None, device: str, dtype: str
) -> tuple[SavedPrompt | list[SavedPrompt], FrozenModel]:
    """Load one prompt, or the prompts of an ensemble, and the base model of the first prompt."""
    from softprompt.saved import SavedPrompt

    others = [SavedPrompt.from_folder(folder) for folder in folders[1:]]
    first, base = load_prompt_and_model(folders[0], model, device, dtype)
    return [first, *others] if others else first, base
