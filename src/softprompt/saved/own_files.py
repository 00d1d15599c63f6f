"""Which files of a folder softprompt wrote itself: only these are ever replaced. It knows no training and no store.

A name alone proves little, so what a file holds is looked at too: a configuration that peft wrote, tensors that were
changed since, and a `softprompt.json` of somebody else's are foreign. So is every folder and every symbolic link but
`tasks`, since softprompt makes no other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from softprompt.saved.manifest import FILE
from softprompt.saved.peft_format import CONFIG, CONFIG_KEYS, KEY, TENSORS

OWN_TENSORS = "prompt.safetensors"
EMBEDDED = "prompt_embeds.safetensors"  # of a text behind a prompt
EMBEDDED_KEY = "prompt_embeds"
TASKS = "tasks"

MOST_NAMED = 5


def find_foreign_files(folder: Path) -> list[str]:
    """What lies in a prompt's folder that softprompt did not write, by its path in it; a folder ends with `/`.

    Args:
        folder: an existing one, of a saved prompt, an exported one, or of anything else.
    """
    return sorted(_foreign_below(folder, with_tasks=True))


def join_names(names: Sequence[str]) -> str:
    """The first few names, for a message: `.git/, notes.md and 12 more`."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(map(_printable, names[:MOST_NAMED])) + more


def _printable(name: str) -> str:
    return name if name.isprintable() else repr(name)


def _foreign_below(folder: Path, *, with_tasks: bool) -> Iterator[str]:
    manifest = read_json_object(folder / FILE)
    for path in folder.iterdir():
        if with_tasks and path.name == TASKS and _is_real_folder(path) and _is_manifest(manifest):
            yield from _foreign_tasks(path)
        elif not _is_own(path, manifest):
            yield f"{path.name}/" if _is_real_folder(path) else path.name


def _foreign_tasks(tasks: Path) -> Iterator[str]:
    for path in tasks.iterdir():
        below = _foreign_below(path, with_tasks=False) if _is_real_folder(path) and any(path.iterdir()) else [""]
        yield from (f"{TASKS}/{path.name}{f'/{name}' if name else ''}" for name in below)


def _is_own(path: Path, manifest: dict[str, Any] | None) -> bool:
    check = _CHECKS.get(path.name)
    return check is not None and path.is_file() and not path.is_symlink() and check(path, manifest)


def _is_own_manifest(_: Path, manifest: dict[str, Any] | None) -> bool:
    return _is_manifest(manifest)


def _is_manifest(fields: dict[str, Any] | None) -> bool:
    """Whether a file has the form of a manifest, of a later format too."""
    return (
        fields is not None
        and isinstance(fields.get("format"), int)
        and all(isinstance(fields.get(name), str) for name in ("content_hash", "tensors_sha256"))
    )


def _is_own_config(path: Path, _: dict[str, Any] | None) -> bool:
    """Whether a configuration is laid out as `write_peft` does; peft itself writes many more keys."""
    config = read_json_object(path)
    if config is None or set(config) not in map(set, CONFIG_KEYS.values()):
        return False
    return path.read_text("utf-8") == json.dumps(config, indent=2, sort_keys=True) + "\n"


def _are_own_tensors(path: Path, manifest: dict[str, Any] | None) -> bool:
    """Whether the manifest names these numbers by their hash; without one, whether an export may have written them."""
    if manifest is None:
        return path.name == TENSORS and _is_own_config(path.with_name(CONFIG), None) and _keys(path) == {KEY}
    with path.open("rb") as file:
        return manifest.get("tensors_sha256") == f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _is_own_embedded_text(path: Path, _: dict[str, Any] | None) -> bool:
    return _keys(path) == {EMBEDDED_KEY}


_CHECKS: dict[str, Callable[[Path, dict[str, Any] | None], bool]] = {
    FILE: _is_own_manifest,
    CONFIG: _is_own_config,
    TENSORS: _are_own_tensors,
    OWN_TENSORS: _are_own_tensors,
    EMBEDDED: _is_own_embedded_text,
}


def read_json_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file, or None."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _keys(path: Path) -> set[str] | None:
    """The names of the tensors in a file, or None where it holds none."""
    try:
        with safe_open(path, framework="pt") as file:
            return set(file.keys())
    except (SafetensorError, OSError, ValueError):
        return None


def _is_real_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
