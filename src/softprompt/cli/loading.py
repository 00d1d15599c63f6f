"""A saved prompt and the base model it is for, with a word about precision."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from softprompt.model import FrozenModel
    from softprompt.saved import SavedPrompt

logger = logging.getLogger("softprompt.cli")


def load(folder: Path, model: str | None, device: str, dtype: str) -> tuple[SavedPrompt, FrozenModel]:
    """Read the prompt first: it is quick, and its complaints should not wait for the model."""
    from softprompt.saved import SavedPrompt

    prompt = SavedPrompt.read(folder)
    from softprompt.model import load_model

    base = prompt.manifest.base
    loaded = load_model(model or base.name, device=device, dtype=dtype)
    if loaded.precision != base.dtype:
        logger.warning(
            "the prompt was trained in %s and is used in %s: its answers may differ slightly",
            base.dtype,
            loaded.precision,
        )
    return prompt, loaded


def load_all(
    folders: Sequence[Path], model: str | None, device: str, dtype: str
) -> tuple[SavedPrompt | list[SavedPrompt], FrozenModel]:
    """The prompt, or the prompts that answer together, and the base model of the first."""
    from softprompt.saved import SavedPrompt

    others = [SavedPrompt.read(folder) for folder in folders[1:]]
    first, base = load(folders[0], model, device, dtype)
    return [first, *others] if others else first, base
