"""Detection of foreign files in a prompt's folder. Only files that softprompt wrote itself are ever replaced.

The content of a file is checked, not only its name. Foreign files include configurations that peft wrote, tensor files
that were changed, and other programs' files named `softprompt.json`. Every symbolic link and every folder except
`tasks` is foreign, because softprompt creates no others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from softprompt.saved.manifest import MANIFEST_FILE
from softprompt.saved.peft_format import (
    ADAPTER_CONFIG_FILE,
    ADAPTER_CONFIG_KEYS,
    ADAPTER_WEIGHTS_FILE,
    PROMPT_EMBEDDINGS_KEY,
)

PROMPT_TENSORS_FILE = "prompt.safetensors"
PROMPT_EMBEDS_FILE = "prompt_embeds.safetensors"  # written by `softprompt export --format prompt-embeds`
PROMPT_EMBEDS_KEY = "prompt_embeds"
TASKS_FOLDER = "tasks"

MAX_NAMES_SHOWN = 5


def find_foreign_files(folder: Path) -> list[str]:
    """Return the relative paths of entries that softprompt did not write; folders end with `/`.

    Args:
        folder: an existing folder: a saved prompt, an export, or any other.
    """
    return sorted(_iter_foreign_files(folder, allow_tasks=True))


def join_names(names: Sequence[str]) -> str:
    """Join the first few names for a message: `.git/, notes.md and 12 more`."""
    suffix = f" and {len(names) - MAX_NAMES_SHOWN} more" if len(names) > MAX_NAMES_SHOWN else ""
    return ", ".join(map(_format_name, names[:MAX_NAMES_SHOWN])) + suffix


def _format_name(name: str) -> str:
    return name if name.isprintable() else repr(name)


def _iter_foreign_files(folder: Path, *, allow_tasks: bool) -> Iterator[str]:
    manifest = read_json_object(folder / MANIFEST_FILE)
    for path in folder.iterdir():
        if allow_tasks and path.name == TASKS_FOLDER and _is_real_folder(path) and _has_manifest_fields(manifest):
            yield from _iter_foreign_task_files(path)
        elif not _is_own_file(path, manifest):
            yield f"{path.name}/" if _is_real_folder(path) else path.name


def _iter_foreign_task_files(tasks: Path) -> Iterator[str]:
    for path in tasks.iterdir():
        names = _iter_foreign_files(path, allow_tasks=False) if _is_real_folder(path) and any(path.iterdir()) else [""]
        yield from (f"{TASKS_FOLDER}/{path.name}{f'/{name}' if name else ''}" for name in names)


def _is_own_file(path: Path, manifest: dict[str, Any] | None) -> bool:
    check = _OWN_FILE_CHECKS.get(path.name)
    return check is not None and path.is_file() and not path.is_symlink() and check(path, manifest)


def _is_own_manifest(_: Path, manifest: dict[str, Any] | None) -> bool:
    return _has_manifest_fields(manifest)


def _has_manifest_fields(fields: dict[str, Any] | None) -> bool:
    """Whether an object has the required fields of a manifest, of this or a newer format."""
    return (
        fields is not None
        and isinstance(fields.get("format"), int)
        and all(isinstance(fields.get(name), str) for name in ("content_hash", "tensors_sha256"))
    )


def _is_own_config(path: Path, _: dict[str, Any] | None) -> bool:
    """Whether `serialize_peft_adapter` could have written a configuration; peft itself writes many more keys."""
    config = read_json_object(path)
    if config is None or set(config) not in map(set, ADAPTER_CONFIG_KEYS.values()):
        return False
    return path.read_text("utf-8") == json.dumps(config, indent=2, sort_keys=True) + "\n"


def _is_own_tensor_file(path: Path, manifest: dict[str, Any] | None) -> bool:
    """Whether the manifest has the hash of a tensor file, or, without a manifest, an export could have written it."""
    if manifest is None:
        return (
            path.name == ADAPTER_WEIGHTS_FILE
            and _is_own_config(path.with_name(ADAPTER_CONFIG_FILE), None)
            and _read_tensor_names(path) == {PROMPT_EMBEDDINGS_KEY}
        )
    with path.open("rb") as file:
        return manifest.get("tensors_sha256") == f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _is_own_prompt_embeds(path: Path, _: dict[str, Any] | None) -> bool:
    return _read_tensor_names(path) == {PROMPT_EMBEDS_KEY}


_OWN_FILE_CHECKS: dict[str, Callable[[Path, dict[str, Any] | None], bool]] = {
    MANIFEST_FILE: _is_own_manifest,
    ADAPTER_CONFIG_FILE: _is_own_config,
    ADAPTER_WEIGHTS_FILE: _is_own_tensor_file,
    PROMPT_TENSORS_FILE: _is_own_tensor_file,
    PROMPT_EMBEDS_FILE: _is_own_prompt_embeds,
}


def read_json_object(path: Path) -> dict[str, Any] | None:
    """Read the JSON object in a file, or return None."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _read_tensor_names(path: Path) -> set[str] | None:
    """Read the names of the tensors in a file; None if it is not a tensor file."""
    try:
        with safe_open(path, framework="pt") as file:
            return set(file.keys())
    except (SafetensorError, OSError, ValueError):
        return None


def _is_real_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
