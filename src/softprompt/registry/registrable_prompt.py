"""Checks of a saved prompt and its note, before a registry stores them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from softprompt.errors import CorruptPrompt, SettingError

if TYPE_CHECKING:
    from softprompt.saved import Manifest, SavedPrompt


def load_registrable_prompt(prompt: SavedPrompt | str | Path, name: str) -> SavedPrompt:
    """Return a saved prompt, loaded if it is a folder, after checking that it can be stored and served.

    Args:
        prompt: a saved prompt or its folder.
        name: name of the prompt, for error messages.

    Raises:
        SavedPromptError: the folder is not a saved prompt, or the prompt is corrupt.
        NonFiniteOutput: the prompt contains values whose square overflows.
    """
    from softprompt.saved import SavedPrompt  # imports torch, which other operations do not need
    from softprompt.saved.overflow_check import check_magnitude

    saved_prompt = prompt if isinstance(prompt, SavedPrompt) else SavedPrompt.from_folder(prompt)
    _check_manifest_texts(saved_prompt.manifest)
    check_magnitude(saved_prompt, name)
    return saved_prompt


def check_note(note: str) -> str:
    """Check that every database can store a note, and return it.

    Raises:
        SettingError: the note contains NUL or invalid Unicode.
    """
    if "\0" in note or any("\ud800" <= character <= "\udfff" for character in note):
        raise SettingError("the note contains NUL or invalid Unicode: remove these characters")
    return note


def _check_manifest_texts(manifest: Manifest) -> None:
    """Check that every database can store the texts of a manifest, which may be untrusted."""
    for value in (str(manifest.method.get("name", "")), manifest.base.name, manifest.base.fingerprint):
        if "\0" in value:
            raise CorruptPrompt(f"the manifest contains a NUL character in {value!r}, which databases cannot store")
