"""Saved prompts: reading, writing, checking and compiling.

A saved prompt is a folder with `softprompt.json` and the tensors: as a peft adapter if peft can express the prompt,
else as `prompt.safetensors`, which peft ignores.
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

from softprompt.atomic import atomic_write_folder
from softprompt.errors import (
    BaseModelMismatch,
    CorruptPrompt,
    NotASavedPrompt,
    PeftExportError,
    TrainingDiverged,
)
from softprompt.model import FrozenModel, KVPrefix, Payload
from softprompt.saved import manifest as manifests
from softprompt.saved import peft_format
from softprompt.saved.foreign_files import PROMPT_TENSORS_FILE, TASKS_FOLDER
from softprompt.saved.manifest import BaseModelInfo, Manifest
from softprompt.saved.output_folder import check_output_free
from softprompt.saved.payload_files import parse_payload_files, serialize_payload_files
from softprompt.saved.tensor_files import compute_sha256, read_prompt_file
from softprompt.tasks import LinearHead, Objective, Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SavedPrompt:
    """A saved prompt, on the disk or in memory only.

    Attributes:
        manifest: metadata of the prompt.
        payload: prompt embeddings `[P, H]` or a KV prefix `[L, 2, G, P, D]`, float32, on the CPU.
        head: weights `[K, H]` and biases `[K]` of a linear classification head, or None.
        files: content of the folder, by file name.
    """

    manifest: Manifest
    payload: Payload
    head: dict[str, Tensor] | None
    files: dict[str, bytes]

    @classmethod
    def from_payload(
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
        """Make a saved prompt from a trained payload, in memory.

        Args:
            model: the base model.
            payload: the trained payload.
            task: the task that the prompt was trained for.
            method: name and settings of the training method, for the manifest.
            trained_parameters: number of trained parameters, including those of a discarded encoder.
            metrics: metrics of the prompt, for the manifest.
            head: the trained linear head, if any.

        Raises:
            TrainingDiverged: the payload contains NaN or infinite values.
        """
        if isinstance(payload, KVPrefix):
            payload = payload.slice_from_layer(0)  # trained and frozen layers together
        payload = payload.with_tensor(payload.tensor.detach().to("cpu", torch.float32))
        if not payload.tensor.isfinite().all():
            raise TrainingDiverged(
                "the prompt contains NaN or infinite values and is not saved: lower the learning rate"
            )
        weights = None if head is None else {n: p.detach().cpu().clone() for n, p in head.named_parameters()}
        files = serialize_payload_files(payload, weights, model.shape, model.name)
        tensors = files.get(peft_format.ADAPTER_WEIGHTS_FILE) or files[PROMPT_TENSORS_FILE]
        manifest = Manifest(
            method=method,
            payload="prefix" if isinstance(payload, KVPrefix) else "embeddings",
            num_virtual_tokens=payload.num_virtual_tokens,
            placement=payload.placement,
            has_bos=isinstance(payload, KVPrefix) and payload.has_bos,
            trained_parameters=trained_parameters,
            base=BaseModelInfo.from_model(model),
            task=task,
            metrics=metrics or {},
            versions={name: version(name) for name in ("softprompt", "torch", "transformers")},
            tensors_sha256=compute_sha256(tensors),
        ).with_content_hash()
        return cls(manifest, payload, weights, {manifests.MANIFEST_FILE: manifest.to_json().encode(), **files})

    @classmethod
    def from_folder(cls, folder: str | Path) -> SavedPrompt:
        """Read a saved prompt from its folder and check every file.

        Raises:
            NotASavedPrompt: the folder is not a saved prompt.
            UnsupportedPromptFormat: a newer softprompt wrote the folder.
            CorruptPrompt: a file is missing or was changed.
        """
        folder = Path(folder)
        manifest = Manifest.from_folder(folder)
        is_peft = not (folder / PROMPT_TENSORS_FILE).is_file()
        names = (
            (peft_format.ADAPTER_WEIGHTS_FILE, peft_format.ADAPTER_CONFIG_FILE) if is_peft else (PROMPT_TENSORS_FILE,)
        )
        return cls.from_manifest(manifest, {name: read_prompt_file(folder / name) for name in names}, folder)

    @classmethod
    def from_manifest(cls, manifest: Manifest, files: Mapping[str, bytes], folder: Path) -> SavedPrompt:
        """Parse a saved prompt from its manifest and the bytes of its tensor files, and check every file.

        Args:
            manifest: the manifest.
            files: the other files by name: `prompt.safetensors`, or the two files of a peft adapter.
            folder: path of the folder, for messages; nothing is read from it.

        Raises:
            CorruptPrompt: a file is missing or was changed.
        """
        payload, head, tensor_files = parse_payload_files(files, manifest, folder)
        return cls(manifest, payload, head, {manifests.MANIFEST_FILE: manifest.to_json().encode(), **tensor_files})

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], folder: Path) -> SavedPrompt:
        """Parse a saved prompt from the bytes of all its files, including the manifest, and check every file.

        Args:
            files: the files by name; other files are ignored.
            folder: path of the folder, for messages; nothing is read from it.

        Raises:
            NotASavedPrompt: the manifest is missing.
            UnsupportedPromptFormat: a newer softprompt wrote the files.
            CorruptPrompt: a file is missing or was changed.
        """
        if manifests.MANIFEST_FILE not in files:
            raise NotASavedPrompt(f"{folder} is not a saved prompt: it has no {manifests.MANIFEST_FILE}")
        return cls.from_manifest(Manifest.from_bytes(files[manifests.MANIFEST_FILE], folder), files, folder)

    def save_to(
        self, folder: str | Path, *, overwrite: bool = False, task_prompts: Mapping[str, SavedPrompt] | None = None
    ) -> None:
        """Write the folder atomically.

        Args:
            folder: path of the folder.
            overwrite: replace an existing saved prompt.
            task_prompts: prompts of single tasks by name, written to the subfolder `tasks`.

        Raises:
            OutputExists: the folder exists and `overwrite` is False, or contains files that softprompt did not write.
            DiskFull: no space is left; nothing was changed.
        """
        folder = Path(folder)
        check_output_free(folder, overwrite)
        task_files = {
            f"{TASKS_FOLDER}/{name}/{file}": content
            for name, prompt in (task_prompts or {}).items()
            for file, content in prompt.files.items()
        }
        atomic_write_folder(folder, {**self.files, **task_files})

    def compile_for(self, model: FrozenModel) -> Payload:
        """Compile the payload for a model, in one forward pass.

        Raises:
            BaseModelMismatch: the prompt was made for another model.
        """
        self.check_base_model(model)
        with torch.no_grad():
            return model.compile_payload(self.payload.with_tensor(self.payload.tensor.to(model.device)))

    def to_prefix(self, model: FrozenModel) -> SavedPrompt:
        """Convert the prompt into a saved prompt whose payload is the KV prefix that it compiles to.

        Raises:
            PeftExportError: the virtual tokens attend to the text, so their keys and values differ for every text.
            BaseModelMismatch: the prompt was made for another model.
        """
        manifest, payload = self.manifest, self.compile_for(model)
        if not isinstance(payload, KVPrefix):
            raise PeftExportError(
                f"{model.name} is {model.shape.kind}: virtual tokens {payload.placement} attend to the text, so no "
                "prefix is equal to them for every text"
            )
        return SavedPrompt.from_payload(
            model,
            payload,
            manifest.task,
            method=manifest.method,
            trained_parameters=manifest.trained_parameters,
            metrics=manifest.metrics,
            head=self.build_linear_head(),
        )

    def build_objective(self, model: FrozenModel, payload: Payload | None) -> Objective:
        """Build the objective of the prompt's task, for the length that `payload` leaves, with the prompt's head."""
        max_length = model.shape.window - (0 if payload is None else payload.num_positions)
        head = self.build_linear_head()
        return self.manifest.task.build_objective(model, max_length, None if head is None else head.to(model.device))

    @property
    def num_parameters(self) -> int:
        """The number of saved parameters: those of the payload and the head."""
        return self.payload.tensor.numel() + sum(t.numel() for t in (self.head or {}).values())

    @property
    def peft_incompatibility(self) -> str | None:
        """The reason why peft cannot express this prompt; None if the folder is a peft adapter."""
        return peft_format.find_peft_incompatibility(self.payload, self.manifest.base.shape, self.head is not None)

    def check_base_model(self, model: FrozenModel) -> None:
        """Check that a model is the prompt's base model. Log a warning if its precision differs.

        Raises:
            BaseModelMismatch: the prompt was made for another model.
            CorruptPrompt: the manifest names this model with a different shape.
        """
        base = self.manifest.base
        if not model.matches_fingerprint(base.fingerprint):
            raise BaseModelMismatch(
                f"this prompt was made for {base.name} ({base.fingerprint}), not for {model.name} "
                f"({model.fingerprint}): load {base.name}"
            )
        if replace(base.shape, window=model.shape.window) != model.shape:
            raise CorruptPrompt(f"the manifest's shape does not match {model.name}: {base.shape}")
        if base.dtype != model.precision:
            logger.warning(
                "the prompt was trained in %s and is used in %s: its answers may differ slightly",
                base.dtype,
                model.precision,
            )

    def build_linear_head(self) -> LinearHead | None:
        """Build the trained linear head, with frozen weights; None if the prompt has none."""
        if self.head is None:
            return None
        head = LinearHead(*self.head["weight"].shape)
        head.load_state_dict(self.head)
        return head.requires_grad_(False)
