"""Removal of local paths from a prompt before it is published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PureWindowsPath

from softprompt.hub.base_model_source import BaseModelSource
from softprompt.saved import Manifest, SavedPrompt
from softprompt.saved import manifest as manifests
from softprompt.saved.peft_format import ADAPTER_CONFIG_FILE, serialize_adapter_config

HUB_DATASET_PREFIX = "hf:"


def strip_local_paths(prompt: SavedPrompt, base_source: BaseModelSource) -> SavedPrompt:
    """Replace local paths in a prompt by the names of their folders. A prompt without paths is returned unchanged.

    The folder of a base model becomes `./NAME`, which cannot be mistaken for a repository of the same name.
    """
    manifest = prompt.manifest
    stripped = _strip_manifest_paths(manifest, base_source)
    if stripped == manifest:
        return prompt
    stripped = stripped.with_content_hash()
    files = {**prompt.files, manifests.MANIFEST_FILE: stripped.to_json().encode()}
    if ADAPTER_CONFIG_FILE in files:
        files[ADAPTER_CONFIG_FILE] = serialize_adapter_config(prompt.payload, stripped.base.shape, stripped.base.name)
    return replace(prompt, manifest=stripped, files=files)


def _strip_manifest_paths(manifest: Manifest, base_source: BaseModelSource) -> Manifest:
    method, model = dict(manifest.method), manifest.base
    kind, _, folder = str(method.get("init", "")).partition(":")
    if kind == "prompt":
        method["init"] = f"prompt:{_last_path_part(folder)}"
    source = method.get("source")
    if isinstance(source, Mapping) and not str(source.get("path")).startswith(HUB_DATASET_PREFIX):
        method["source"] = {**source, "path": _last_path_part(str(source.get("path")), default="text")}
    if base_source is BaseModelSource.FOLDER:
        model = model.model_copy(update={"name": f"./{_last_path_part(model.name)}"})
    return manifest.model_copy(update={"method": method, "base": model})


def _last_path_part(path: str, default: str = "model") -> str:
    """Return the last part of a path of any operating system; the default if it has no name."""
    name = PureWindowsPath(path).name
    return name if name.strip(".~") else default
