"""The tensor files of a saved prompt: payload and head, as a peft adapter or as `prompt.safetensors`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from softprompt.errors import CorruptPrompt
from softprompt.model import KVPrefix, ModelShape, Payload, Placement
from softprompt.saved import peft_format
from softprompt.saved.foreign_files import PROMPT_TENSORS_FILE
from softprompt.saved.manifest import Manifest
from softprompt.saved.tensor_files import check_content_hash, deserialize_tensors, serialize_tensors


def serialize_payload_files(
    payload: Payload, head: Mapping[str, Tensor] | None, shape: ModelShape, base_model_name: str
) -> dict[str, bytes]:
    """Serialize a payload and a head to files by name: a peft adapter if peft can express them.

    Args:
        payload: the payload, float32, on the CPU.
        head: weights `[K, H]` and biases `[K]` of a linear classification head, or None.
        shape: shape of the base model.
        base_model_name: name of the base model, for peft's configuration.
    """
    if peft_format.find_peft_incompatibility(payload, shape, head is not None) is None:
        return peft_format.serialize_peft_adapter(payload, shape, base_model_name)
    tensor = peft_format.to_peft_layout(payload.tensor) if isinstance(payload, KVPrefix) else payload.tensor
    return {
        PROMPT_TENSORS_FILE: serialize_tensors(
            {peft_format.PROMPT_EMBEDDINGS_KEY: tensor, **{f"head.{n}": t for n, t in (head or {}).items()}}
        )
    }


def parse_payload_files(
    files: Mapping[str, bytes], manifest: Manifest, folder: Path
) -> tuple[Payload, dict[str, Tensor] | None, dict[str, bytes]]:
    """Parse the tensor files of a saved prompt, and check them against its manifest.

    Args:
        files: contents by file name; other files are ignored.
        manifest: the manifest.
        folder: path of the folder, for messages; nothing is read from it.

    Returns:
        The payload; the head's weights and biases, or None; and the checked files.

    Raises:
        CorruptPrompt: a file is missing or was changed.
    """
    is_peft = PROMPT_TENSORS_FILE not in files
    name = peft_format.ADAPTER_WEIGHTS_FILE if is_peft else PROMPT_TENSORS_FILE
    if missing := {name, *([peft_format.ADAPTER_CONFIG_FILE] if is_peft else [])} - set(files):
        raise CorruptPrompt(f"{folder / min(missing)} is missing")
    path, content = folder / name, files[name]
    tensors = deserialize_tensors(content, path, manifest.tensors_sha256)
    payload, checked_files = _parse_payload(tensors, manifest, path), {name: content}
    if is_peft:
        config = files[peft_format.ADAPTER_CONFIG_FILE]
        checked_files[peft_format.ADAPTER_CONFIG_FILE] = _check_adapter_config(config, folder, payload, manifest)
    return payload, _parse_head(tensors, manifest, path), checked_files


def _parse_payload(tensors: dict[str, Tensor], manifest: Manifest, path: Path) -> Payload:
    is_prefix, shape = manifest.payload == "prefix", manifest.base.shape
    _check_placement(is_prefix, manifest)
    payload = peft_format.payload_from_tensors(tensors, shape, path, is_prefix=is_prefix)
    if isinstance(payload, KVPrefix):
        payload = replace(payload, has_bos=manifest.has_bos)
    if payload.num_virtual_tokens != manifest.num_virtual_tokens:
        raise CorruptPrompt(
            f"{path} holds {payload.num_virtual_tokens} virtual tokens, the manifest says {manifest.num_virtual_tokens}"
        )
    return replace(payload, placement=manifest.placement)


def check_tensor_hash(files: Mapping[str, bytes], manifest: Manifest, folder: Path) -> None:
    """Check the hash of the tensor file without parsing it; the arguments are those of `parse_payload_files`.

    Raises:
        CorruptPrompt: the file is missing or was changed.
    """
    name = PROMPT_TENSORS_FILE if PROMPT_TENSORS_FILE in files else peft_format.ADAPTER_WEIGHTS_FILE
    if name not in files:
        raise CorruptPrompt(f"{folder / name} is missing")
    check_content_hash(files[name], folder / name, manifest.tensors_sha256)


def _check_placement(is_prefix: bool, manifest: Manifest) -> None:
    """Check the manifest's placement: a KV prefix is before the text, and only a prefix after-bos contains BOS."""
    placement = manifest.placement
    if is_prefix and placement not in (Placement.BEFORE, Placement.AFTER_BOS):
        raise CorruptPrompt(
            f"invalid manifest: a prefix cannot have the placement {placement.value!r}, only before or after-bos"
        )
    if manifest.has_bos and not (is_prefix and placement is Placement.AFTER_BOS):
        raise CorruptPrompt(
            f"invalid manifest: has_bos is true for {manifest.payload} with placement {placement.value!r}, but only "
            "a prefix after-bos can contain BOS"
        )


def _check_adapter_config(content: bytes, folder: Path, payload: Payload, manifest: Manifest) -> bytes:
    """Check peft's configuration, which no hash covers: it must be the one that this prompt's adapter has."""
    shape, path = manifest.base.shape, folder / peft_format.ADAPTER_CONFIG_FILE
    if reason := peft_format.find_peft_incompatibility(payload, shape, has_head=False):
        raise CorruptPrompt(f"{path} is a peft adapter's, but peft cannot express {reason}")
    if content != peft_format.serialize_adapter_config(payload, shape, manifest.base.name):
        raise CorruptPrompt(f"{path} was changed after it was written: peft would misread it")
    return content


def _parse_head(tensors: dict[str, Tensor], manifest: Manifest, path: Path) -> dict[str, Tensor] | None:
    head = {name.removeprefix("head."): t for name, t in tensors.items() if name.startswith("head.")}
    if not head:
        return None
    labels = manifest.task.labels
    expected = {"weight": (len(labels), manifest.base.shape.hidden_size), "bias": (len(labels),)}
    if {name: tuple(t.shape) for name, t in head.items()} != expected:
        raise CorruptPrompt(f"{path}: the shape of the head does not match {len(labels)} labels and this base model")
    return head
