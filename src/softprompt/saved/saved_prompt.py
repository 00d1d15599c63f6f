"""A saved prompt: read it, write it, check it, compile it.

A folder with `softprompt.json` and the numbers: as a peft adapter where peft can express the prompt, else as
`prompt.safetensors`, which peft does not look at.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from softprompt.errors import (
    DamagedPrompt,
    NotASavedPrompt,
    NotExpressible,
    TrainingDiverged,
    WrongBaseModel,
)
from softprompt.model import FrozenModel, ModelShape, Payload, Placement, Prefix
from softprompt.saved import manifest as manifests
from softprompt.saved import peft_format
from softprompt.saved.folders import write_folder
from softprompt.saved.manifest import Base, Manifest
from softprompt.saved.output_folder import check_free
from softprompt.saved.own_files import OWN_TENSORS, TASKS
from softprompt.saved.tensors import parse_tensors, read_bytes, sha256, to_bytes
from softprompt.tasks import LinearHead, Objective, Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SavedPrompt:
    """A prompt as it lies on the disk, or as it is about to.

    Attributes:
        manifest: everything but the numbers.
        payload: embeddings `[P, H]` or a prefix `[L, 2, G, P, D]`, float32, on the CPU.
        head: the weights `[K, H]` and biases `[K]` of a linear classification head, or None.
        files: the folder's content.
    """

    manifest: Manifest
    payload: Payload
    head: dict[str, Tensor] | None
    files: dict[str, bytes]

    @classmethod
    def make(
        cls,
        model: FrozenModel,
        payload: Payload,
        task: Task,
        *,
        method: dict[str, Any],
        trained_parameters: int,
        metrics: dict[str, Any] | None = None,
        head: LinearHead | None = None,
    ) -> SavedPrompt:
        """A saved prompt out of a payload, not on the disk yet."""
        payload = payload.above(0) if isinstance(payload, Prefix) else payload  # what trained, and what did not
        payload = payload.with_tensor(payload.tensor.detach().to("cpu", torch.float32))
        if not payload.tensor.isfinite().all():
            raise TrainingDiverged(
                "the prompt holds NaN or infinite numbers, so it is not saved: lower the learning rate"
            )
        weights = None if head is None else {n: p.detach().cpu().clone() for n, p in head.named_parameters()}
        files = _tensor_files(payload, weights, model.shape, model.name)
        tensors = files.get(peft_format.TENSORS) or files[OWN_TENSORS]
        manifest = Manifest(
            method=method,
            payload="prefix" if isinstance(payload, Prefix) else "embeddings",
            num_virtual_tokens=payload.num_virtual_tokens,
            placement=payload.placement,
            has_bos=isinstance(payload, Prefix) and payload.has_bos,
            trained_parameters=trained_parameters,
            base=Base.of(model),
            task=task,
            metrics=metrics or {},
            versions={name: version(name) for name in ("softprompt", "torch", "transformers")},
            tensors_sha256=sha256(tensors),
        ).sealed()
        return cls(manifest, payload, weights, {manifests.FILE: manifest.text().encode(), **files})

    @classmethod
    def read(cls, folder: str | Path) -> SavedPrompt:
        """A saved prompt from its folder, every file checked.

        Raises:
            NotASavedPrompt: it is none.
            NewerPrompt: a later softprompt wrote it.
            DamagedPrompt: it is not what was written.
        """
        folder = Path(folder)
        manifest = Manifest.read(folder)
        is_peft = not (folder / OWN_TENSORS).is_file()
        names = (peft_format.TENSORS, peft_format.CONFIG) if is_peft else (OWN_TENSORS,)
        return cls.parse(manifest, {name: read_bytes(folder / name) for name in names}, folder)

    @classmethod
    def parse(cls, manifest: Manifest, files: Mapping[str, bytes], folder: Path) -> SavedPrompt:
        """A saved prompt from the bytes of its files, every one checked.

        Args:
            manifest: what it says of itself.
            files: the others by their names: `prompt.safetensors`, or both of peft's.
            folder: where they are, or would be; nothing is read there.

        Raises:
            DamagedPrompt: it is not what was written.
        """
        is_peft = OWN_TENSORS not in files
        name = peft_format.TENSORS if is_peft else OWN_TENSORS
        if missing := {name, *([peft_format.CONFIG] if is_peft else [])} - set(files):
            raise DamagedPrompt(f"{folder / min(missing)} is missing")
        path, content = folder / name, files[name]
        tensors = parse_tensors(content, path, manifest.tensors_sha256)
        kept = {manifests.FILE: manifest.text().encode(), name: content}
        payload = _payload(tensors, manifest, path)
        if is_peft:
            kept[peft_format.CONFIG] = _checked_config(files[peft_format.CONFIG], folder, payload, manifest)
        return cls(manifest, payload, _head(tensors, manifest, path), kept)

    @classmethod
    def of(cls, files: Mapping[str, bytes], folder: Path) -> SavedPrompt:
        """A saved prompt from the bytes of all its files, the manifest's too, every one checked.

        Args:
            files: they by their names. What else is among them is left out.
            folder: where they are, or would be; nothing is read there.

        Raises:
            NotASavedPrompt: there is no manifest.
            NewerPrompt: a later softprompt wrote it.
            DamagedPrompt: it is not what was written.
        """
        if manifests.FILE not in files:
            raise NotASavedPrompt(f"{folder} is not a saved prompt: it has no {manifests.FILE}")
        return cls.parse(Manifest.parse(files[manifests.FILE], folder), files, folder)

    def write(
        self, folder: str | Path, *, overwrite: bool = False, tasks: Mapping[str, SavedPrompt] | None = None
    ) -> None:
        """Write the folder, whole or not at all; the prompts of `tasks` become folders of these names in its `tasks`.

        Raises:
            OutputExists: something is there and `overwrite` was not said, or softprompt did not write all of it.
            DiskFull: nothing was changed.
        """
        folder = Path(folder)
        check_free(folder, overwrite)
        others = {f"{TASKS}/{name}/{file}": b for name, p in (tasks or {}).items() for file, b in p.files.items()}
        write_folder(folder, {**self.files, **others})

    def bound(self, model: FrozenModel) -> Payload:
        """The payload compiled for this model, ready to use: one forward pass, once.

        Raises:
            WrongBaseModel: it was made for another.
        """
        self.check_base(model)
        with torch.no_grad():
            return model.compile(self.payload.with_tensor(self.payload.tensor.to(model.device)))

    def compiled(self, model: FrozenModel) -> SavedPrompt:
        """The same prompt saved as the prefix it compiles to.

        Raises:
            NotExpressible: its virtual tokens read the text, so they leave other keys and values in every row.
            WrongBaseModel: it was made for another model.
        """
        manifest, payload = self.manifest, self.bound(model)
        if not isinstance(payload, Prefix):
            raise NotExpressible(
                f"{model.name} is {model.shape.kind}: virtual tokens {payload.placement} read the text, "
                "so no prefix says the same in every row"
            )
        return SavedPrompt.make(
            model,
            payload,
            manifest.task,
            method=manifest.method,
            trained_parameters=manifest.trained_parameters,
            metrics=manifest.metrics,
            head=self.linear_head(),
        )

    def objective(self, model: FrozenModel, payload: Payload | None) -> Objective:
        """The prompt's own task on a model, with the room that `payload` leaves, read by its own head if it has one."""
        room = model.shape.window - (0 if payload is None else payload.num_positions)
        head = self.linear_head()
        return self.manifest.task.bind(model, room, None if head is None else head.to(model.device))

    @property
    def num_parameters(self) -> int:
        """The numbers that are kept: the payload's and the head's."""
        return self.payload.tensor.numel() + sum(t.numel() for t in (self.head or {}).values())

    @property
    def peft_refusal(self) -> str | None:
        """What peft cannot express about this prompt; None where its folder is a peft adapter."""
        return peft_format.why_not(self.payload, self.manifest.base.shape, self.head is not None)

    def check_base(self, model: FrozenModel) -> None:
        """Refuse a model that the prompt was not made for, and say so where it has another precision.

        Raises:
            WrongBaseModel: it was made for another.
            DamagedPrompt: it names this model, but other sizes.
        """
        base = self.manifest.base
        if not model.may_be(base.fingerprint):
            raise WrongBaseModel(
                f"this prompt was made for {base.name} ({base.fingerprint}), "
                f"not for {model.name} ({model.fingerprint}): use it with the former"
            )
        if replace(base.shape, window=model.shape.window) != model.shape:
            raise DamagedPrompt(f"the manifest gives sizes that {model.name} does not have: {base.shape}")
        if base.dtype != model.precision:
            logger.warning(
                "the prompt was trained in %s and is used in %s: its answers may differ slightly",
                base.dtype,
                model.precision,
            )

    def linear_head(self) -> LinearHead | None:
        """The trained head, frozen, or None."""
        if self.head is None:
            return None
        head = LinearHead(*self.head["weight"].shape)
        head.load_state_dict(self.head)
        return head.requires_grad_(False)


def _tensor_files(
    payload: Payload, head: dict[str, Tensor] | None, shape: ModelShape, base_name: str
) -> dict[str, bytes]:
    if peft_format.why_not(payload, shape, head is not None) is None:
        return peft_format.write_peft(payload, shape, base_name)
    rows = peft_format.flattened(payload.tensor) if isinstance(payload, Prefix) else payload.tensor
    return {OWN_TENSORS: to_bytes({peft_format.KEY: rows, **{f"head.{n}": t for n, t in (head or {}).items()}})}


def _payload(tensors: dict[str, Tensor], manifest: Manifest, path: Path) -> Payload:
    is_prefix, shape = manifest.payload == "prefix", manifest.base.shape
    _check_place(is_prefix, manifest)
    payload = peft_format.payload_from(tensors, shape, path, is_prefix=is_prefix)
    if isinstance(payload, Prefix):
        payload = replace(payload, has_bos=manifest.has_bos)
    if payload.num_virtual_tokens != manifest.num_virtual_tokens:
        raise DamagedPrompt(
            f"{path} holds {payload.num_virtual_tokens} virtual tokens, the manifest says {manifest.num_virtual_tokens}"
        )
    return replace(payload, placement=manifest.placement)


def _check_place(is_prefix: bool, manifest: Manifest) -> None:
    """Refuse what no payload can be: a prefix that is not in front of the text, a BOS within where none is."""
    place = manifest.placement
    if is_prefix and place not in (Placement.BEFORE, Placement.AFTER_BOS):
        raise DamagedPrompt(f"the manifest has a prefix {place}: keys and values only stand in front of the text")
    if manifest.has_bos and not (is_prefix and place is Placement.AFTER_BOS):
        raise DamagedPrompt(f"the manifest has a BOS token within {manifest.payload} {place}: it stands in none such")


def _checked_config(content: bytes, folder: Path, payload: Payload, manifest: Manifest) -> bytes:
    """The configuration for peft, which no hash covers: it must be what this prompt's is."""
    if content != peft_format.write_peft(payload, manifest.base.shape, manifest.base.name)[peft_format.CONFIG]:
        raise DamagedPrompt(f"{folder / peft_format.CONFIG} was changed after it was written: peft would misread it")
    return content


def _head(tensors: dict[str, Tensor], manifest: Manifest, path: Path) -> dict[str, Tensor] | None:
    head = {name.removeprefix("head."): t for name, t in tensors.items() if name.startswith("head.")}
    if not head:
        return None
    labels = manifest.task.labels
    expected = {"weight": (len(labels), manifest.base.shape.hidden_size), "bias": (len(labels),)}
    if {name: tuple(t.shape) for name, t in head.items()} != expected:
        raise DamagedPrompt(f"{path}: the head does not fit {len(labels)} labels on this base model")
    return head
