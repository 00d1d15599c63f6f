"""Manifest of a saved prompt, `softprompt.json`. docs/saved_prompt.md describes its fields."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from softprompt.errors import CorruptPrompt, NotASavedPrompt, UnsupportedPromptFormat
from softprompt.model import FrozenModel, ModelShape, Placement
from softprompt.tasks import Task

MANIFEST_FILE = "softprompt.json"
FORMAT_VERSION = 1
DISTILLATION_METHOD = "distillation"  # name of the method of prompts that were distilled from a text


class BaseModelInfo(BaseModel):
    """The base model that a prompt was made for.

    Attributes:
        name: name that the model was loaded by.
        fingerprint: fingerprint of the model's weights.
        dtype: precision of the model during training.
        shape: shape of the model.
        num_parameters: number of the model's parameters, N.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    fingerprint: str
    dtype: str
    shape: ModelShape
    num_parameters: int

    @classmethod
    def from_model(cls, model: FrozenModel) -> BaseModelInfo:
        """Make the entry for a loaded model."""
        return cls(
            name=model.name,
            fingerprint=model.fingerprint,
            dtype=model.precision,
            shape=model.shape,
            num_parameters=model.num_parameters,
        )


class Manifest(BaseModel):
    """The metadata of a saved prompt: everything except the tensors.

    Attributes:
        format: version of the file format; a newer one is refused.
        method: name and settings of the training method, for information only.
        payload: kind of the payload, `embeddings` or `prefix`.
        num_virtual_tokens: number of virtual tokens, P.
        placement: placement of the virtual tokens.
        has_bos: whether the prefix begins with the position of the BOS token.
        trained_parameters: number of trained parameters, including those of a discarded encoder.
        base: the base model.
        task: the task that the prompt was trained for.
        metrics: metrics of the prompt, by data set.
        versions: versions of the libraries that wrote the prompt.
        tensors_sha256: SHA-256 of the tensor file.
        content_hash: SHA-256 of all other fields; the identity of the prompt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    method: dict[str, Any]
    payload: Literal["embeddings", "prefix"]
    num_virtual_tokens: int = Field(gt=0)
    placement: Placement
    has_bos: bool
    trained_parameters: int
    base: BaseModelInfo
    task: Task
    metrics: dict[str, Any]
    versions: dict[str, str]
    tensors_sha256: str
    content_hash: str = ""

    def with_content_hash(self) -> Manifest:
        """Return the manifest with its content hash."""
        return self.model_copy(update={"content_hash": self._compute_hash()})

    def _compute_hash(self) -> str:
        fields = self.model_dump(mode="json", exclude={"content_hash"})
        return "sha256:" + hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """Return the text of the file."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_folder(cls, folder: Path) -> Manifest:
        """Read the manifest of a folder and check it.

        Raises:
            NotASavedPrompt: the folder has no manifest.
            UnsupportedPromptFormat: the manifest has a newer format.
            CorruptPrompt: the manifest was changed.
        """
        try:
            content = (folder / MANIFEST_FILE).read_bytes()
        except OSError as error:
            problem = "the folder does not exist" if not folder.is_dir() else f"it has no {MANIFEST_FILE}"
            is_adapter = (folder / "adapter_config.json").is_file()
            remedy = "; it is a peft adapter, which `softprompt import` converts" if is_adapter else ""
            raise NotASavedPrompt(f"{folder} is not a saved prompt: {problem}{remedy}") from error
        return cls.from_bytes(content, folder)

    @classmethod
    def from_bytes(cls, content: bytes, folder: Path) -> Manifest:
        """Parse a manifest from the bytes of its file and check it.

        Args:
            content: bytes of the file.
            folder: path of the folder, for messages; nothing is read from it.

        Raises:
            UnsupportedPromptFormat: the manifest has a newer format.
            CorruptPrompt: the manifest was changed.
        """
        try:
            fields = json.loads(content.decode("utf-8"))
            # A lone surrogate, `\\ud800`, is valid JSON but not valid text.
            json.dumps(fields, ensure_ascii=False).encode("utf-8")
        except (ValueError, RecursionError) as error:
            raise CorruptPrompt(f"{folder / MANIFEST_FILE} is damaged: {error}") from error
        _check_format(fields, folder)
        try:
            manifest = cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise CorruptPrompt(f"{folder / MANIFEST_FILE} is damaged: {field}: {first['msg']}") from error
        try:
            expected = manifest._compute_hash()
        except (ValueError, RecursionError) as error:
            raise CorruptPrompt(f"{folder / MANIFEST_FILE} is damaged: it is nested too deeply") from error
        if manifest.content_hash != expected:
            raise CorruptPrompt(
                f"{folder / MANIFEST_FILE} was changed after it was written: its content hash does not match"
            )
        return manifest


def _check_format(fields: Any, folder: Path) -> None:
    if not isinstance(fields, dict) or not isinstance(fields.get("format"), int):
        raise CorruptPrompt(f"{folder / MANIFEST_FILE} is damaged: it has no valid format")
    if fields["format"] > FORMAT_VERSION:
        raise UnsupportedPromptFormat(
            f"{folder} has format {fields['format']}, but this softprompt reads formats up to {FORMAT_VERSION}: "
            "upgrade softprompt"
        )


def is_distilled(manifest: Manifest) -> bool:
    """Whether a prompt was distilled from a text, so that it holds the content of that text."""
    return manifest.method.get("name") == DISTILLATION_METHOD
