"""Locate the files of a base model: bundled, in a folder, in a GGUF file, or on the Hub."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from softprompt.errors import HubUnreachable, ModelNotFound, RepositoryNotFound
from softprompt.hub_probe import probe_hub_repo
from softprompt.model.bundled_models import BUNDLED_MODELS, unpack_bundled_model
from softprompt.model.gguf_cache import unpack_gguf

WEIGHTS_PATTERN = "*.safetensors"
DOWNLOAD_PATTERNS = ["*.json", WEIGHTS_PATTERN, "*.model", "*.txt", "*.jinja"]  # no pickles


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model.

    Attributes:
        folder: folder with the files.
        name: name that a saved prompt records; the absolute path of a folder or GGUF file.
    """

    folder: Path
    name: str


def resolve_model_files(name: str, with_weights: bool = True) -> ModelFiles:
    """Locate the files of a model, and unpack or download them if necessary.

    Args:
        name: `smollm2-135m`, a folder, a `.gguf` file, or a Hub id.
        with_weights: download the weights of a Hub model, besides configuration and tokenizer.

    Raises:
        ModelNotFound: no such folder, file, Hub id or bundled model.
        HubUnreachable: the Hub cannot be reached and the model was never downloaded.
    """
    path = Path(name).expanduser()
    if name in BUNDLED_MODELS:
        return ModelFiles(unpack_bundled_model(name), name)
    if path.is_dir():
        return ModelFiles(_find_transformer_folder(path), str(path.absolute()))
    if path.suffix == ".gguf" and path.is_file():
        return ModelFiles(unpack_gguf(path), str(path.absolute()))
    if path.is_absolute() or name.startswith((".", "~")) or path.suffix == ".gguf":
        raise ModelNotFound(f"no {'file' if path.suffix == '.gguf' else 'folder'} {name}")
    return ModelFiles(_find_transformer_folder(_download_snapshot(name, with_weights)), name)


def _download_snapshot(name: str, with_weights: bool) -> Path:
    """Download a model's files from the Hub; a complete copy in the cache is used without network access."""
    files = DOWNLOAD_PATTERNS if with_weights else [file for file in DOWNLOAD_PATTERNS if file != WEIGHTS_PATTERN]
    try:
        cached = Path(snapshot_download(name, allow_patterns=files, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        cached = None
    if cached is not None and _is_complete(cached, with_weights):
        return cached
    try:
        unreachable = probe_hub_repo("model", name)
    except RepositoryNotFound as error:
        raise ModelNotFound(
            f"no model {name!r}: not a bundled model ({', '.join(BUNDLED_MODELS)}), no such folder here, and {error}"
        ) from error
    if unreachable is not None:
        raise HubUnreachable(
            f"{name!r} is not in the cache and the Hub cannot be reached: connect, or give a folder ({unreachable})"
        )
    return Path(snapshot_download(name, allow_patterns=files))


def _find_transformer_folder(folder: Path) -> Path:
    """Return the folder of the transformers model, which sentence-transformers may put into a subfolder."""
    listing = folder / "modules.json"
    if (folder / "config.json").is_file() or not listing.is_file():
        return folder
    paths = [folder / module["path"] for module in json.loads(listing.read_text("utf-8"))]
    return next((path for path in paths if "model_type" in _read_config_json(path)), folder)


def _read_config_json(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    config: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return config


def _is_complete(folder: Path, with_weights: bool) -> bool:
    """Return whether a download is complete: the configuration, and all weights if needed."""
    folder = _find_transformer_folder(folder)
    if not with_weights:
        return (folder / "config.json").is_file() and (folder / "tokenizer.json").is_file()
    index = folder / "model.safetensors.index.json"
    weights = (
        set(json.loads(index.read_text("utf-8"))["weight_map"].values()) if index.is_file() else {"model.safetensors"}
    )
    return all((folder / file).is_file() for file in ("config.json", *weights))
