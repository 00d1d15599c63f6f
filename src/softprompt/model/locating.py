"""Where a base model's files are: unpacked, in a folder, in a GGUF file, or on the Hub."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from softprompt.asking import why_unreachable
from softprompt.errors import ModelNotFound, NoNetwork, RepositoryNotFound
from softprompt.model.embedded import EMBEDDED, unpacked
from softprompt.model.gguf_cache import unpacked_gguf

WEIGHTS = "*.safetensors"
FILES = ["*.json", WEIGHTS, "*.model", "*.txt", "*.jinja"]  # no pickles


@dataclass(frozen=True)
class Located:
    """A model's files.

    Attributes:
        folder: where they are.
        name: what a saved prompt remembers the model as: a folder by its whole path.
    """

    folder: Path
    name: str


def located(name: str, weights: bool = True) -> Located:
    """The files of a model, unpacked or downloaded first where they must be.

    Args:
        name: `smollm2-135m`, a folder, a `.gguf` file, or a Hub id.
        weights: of the Hub's models the weights, too; without, the configuration and the tokenizer alone.

    Raises:
        ModelNotFound: no such folder, file, Hub id or embedded model.
        NoNetwork: the Hub cannot be reached and the model was never downloaded.
    """
    path = Path(name).expanduser()
    if name in EMBEDDED:
        return Located(unpacked(name), name)
    if path.is_dir():
        return Located(_transformer_folder(path), str(path.absolute()))
    if path.suffix == ".gguf" and path.is_file():
        return Located(unpacked_gguf(path), str(path.absolute()))
    if path.is_absolute() or name.startswith((".", "~")) or path.suffix == ".gguf":
        raise ModelNotFound(f"no {'file' if path.suffix == '.gguf' else 'folder'} {name}")
    return Located(_transformer_folder(_downloaded(name, weights)), name)


def _downloaded(name: str, weights: bool) -> Path:
    """The Hub's files of a model, from the cache where they are whole: then the network is not asked at all."""
    files = FILES if weights else [file for file in FILES if file != WEIGHTS]
    try:
        cached = Path(snapshot_download(name, allow_patterns=files, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        cached = None
    if cached is not None and _is_whole(cached, weights):
        return cached
    try:
        unreachable = why_unreachable("model", name)
    except RepositoryNotFound as error:
        raise ModelNotFound(
            f"no model {name!r}: not embedded ({', '.join(EMBEDDED)}), no such folder here, and {error}"
        ) from error
    if unreachable is not None:
        raise NoNetwork(
            f"{name!r} is not in the cache and the Hub cannot be reached: connect, or give a folder ({unreachable})"
        )
    return Path(snapshot_download(name, allow_patterns=files))


def _transformer_folder(folder: Path) -> Path:
    """Where in a folder the transformers model is: one of sentence-transformers may have it in a folder below."""
    listing = folder / "modules.json"
    if (folder / "config.json").is_file() or not listing.is_file():
        return folder
    paths = [folder / module["path"] for module in json.loads(listing.read_text("utf-8"))]
    return next((path for path in paths if "model_type" in _config(path)), folder)


def _config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    config: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return config


def _is_whole(folder: Path, with_weights: bool) -> bool:
    """Whether a download was not cut short: the configuration is there, and all weights if they are wanted."""
    folder = _transformer_folder(folder)
    if not with_weights:
        return (folder / "config.json").is_file() and (folder / "tokenizer.json").is_file()
    index = folder / "model.safetensors.index.json"
    weights = (
        set(json.loads(index.read_text("utf-8"))["weight_map"].values()) if index.is_file() else {"model.safetensors"}
    )
    return all((folder / file).is_file() for file in ("config.json", *weights))
