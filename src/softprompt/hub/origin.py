"""Where a prompt's base model came from, and the prompt as others may see it: without paths of the maker's machine."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path, PureWindowsPath

from softprompt.errors import RepositoryNotFound
from softprompt.hub.repository import find, is_name
from softprompt.model.embedded import EMBEDDED
from softprompt.saved import Manifest, SavedPrompt
from softprompt.saved import manifest as manifests
from softprompt.saved.peft_format import CONFIG, write_peft


class Origin(StrEnum):
    """What the base model's name in a manifest is the name of."""

    EMBEDDED = "embedded"
    HUB = "hub"
    FOLDER = "folder"


def origin(name: str) -> Origin:
    """What a base model's name is the name of. A name that could be a repository's is asked for.

    Raises:
        NoNetwork: the Hub cannot be reached.
        HubRefused: it does not answer this account.
    """
    if name in EMBEDDED:
        return Origin.EMBEDDED
    if not is_name(name) or Path(name).is_dir():  # a folder comes first when a model is loaded, too
        return Origin.FOLDER
    try:
        find(name)
    except RepositoryNotFound:
        return Origin.FOLDER
    return Origin.HUB


def shareable(saved: SavedPrompt, base: Origin) -> SavedPrompt:
    """The prompt with folders' names in the place of their paths; itself if it names none.

    A base's folder becomes `./NAME`, which is no repository of the Hub, so that nobody loads a stranger of that name.
    """
    manifest = saved.manifest
    changed = _without_paths(manifest, base)
    if changed == manifest:
        return saved
    sealed = changed.sealed()
    files = {**saved.files, manifests.FILE: sealed.text().encode()}
    if CONFIG in files:
        files[CONFIG] = write_peft(saved.payload, sealed.base.shape, sealed.base.name)[CONFIG]
    return replace(saved, manifest=sealed, files=files)


def _without_paths(manifest: Manifest, base: Origin) -> Manifest:
    method, model = dict(manifest.method), manifest.base
    kind, _, folder = str(method.get("init", "")).partition(":")
    if kind == "prompt":
        method["init"] = f"prompt:{_last(folder)}"
    if base is Origin.FOLDER:
        model = model.model_copy(update={"name": f"./{_last(model.name)}"})
    return manifest.model_copy(update={"method": method, "base": model})


def _last(path: str) -> str:
    """The last part of a path of any system."""
    name = PureWindowsPath(path).name
    return name if name.strip(".~") else "model"
