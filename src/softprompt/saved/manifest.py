"""`softprompt.json`: what a saved prompt says about itself. Its fields are described in docs/saved_prompt.md."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from softprompt.errors import DamagedPrompt, NewerPrompt, NotASavedPrompt
from softprompt.model import FrozenModel, ModelShape, Placement
from softprompt.tasks import Task

FILE = "softprompt.json"
FORMAT = 1


class Base(BaseModel):
    """The base model a prompt was made for.

    Attributes:
        name: what it was loaded as.
        fingerprint: names its weights.
        dtype: the precision it was trained on.
        shape: its sizes.
        num_parameters: of the base, N.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    fingerprint: str
    dtype: str
    shape: ModelShape
    num_parameters: int

    @classmethod
    def of(cls, model: FrozenModel) -> Base:
        """The entry for a loaded model."""
        return cls(
            name=model.name,
            fingerprint=model.fingerprint,
            dtype=model.precision,
            shape=model.shape,
            num_parameters=model.num_parameters,
        )


class Manifest(BaseModel):
    """Everything but the numbers.

    Attributes:
        format: of this file; a reader refuses a later one.
        method: the method's name and settings, for people; using a prompt does not need them.
        payload: `embeddings` or `prefix`.
        num_virtual_tokens: P.
        placement: where they stand.
        has_bos: the prefix begins with the BOS token's own position.
        trained_parameters: how many numbers trained, an encoder included that was thrown away since.
        base: the model it is for.
        task: what it was trained to do.
        metrics: what it was accepted with.
        versions: of the libraries that made it.
        tensors_sha256: of the file that holds the numbers.
        content_hash: of all of the above; the prompt's identity.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    method: dict[str, Any]
    payload: Literal["embeddings", "prefix"]
    num_virtual_tokens: int = Field(gt=0)
    placement: Placement
    has_bos: bool
    trained_parameters: int
    base: Base
    task: Task
    metrics: dict[str, Any]
    versions: dict[str, str]
    tensors_sha256: str
    content_hash: str = ""

    def sealed(self) -> Manifest:
        """The manifest with its content hash."""
        return self.model_copy(update={"content_hash": self._hash()})

    def _hash(self) -> str:
        fields = self.model_dump(mode="json", exclude={"content_hash"})
        return "sha256:" + hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    def text(self) -> str:
        """The file's text."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a folder, checked.

        Raises:
            NotASavedPrompt: there is none.
            NewerPrompt: it is of a later format.
            DamagedPrompt: it is not what was written.
        """
        try:
            content = (folder / FILE).read_bytes()
        except OSError as error:
            what = "no such folder" if not folder.is_dir() else f"it has no {FILE}"
            peft = "; it is a peft adapter: softprompt import" if (folder / "adapter_config.json").is_file() else ""
            raise NotASavedPrompt(f"{folder} is not a saved prompt: {what}{peft}") from error
        return cls.parse(content, folder)

    @classmethod
    def parse(cls, content: bytes, folder: Path) -> Manifest:
        """The manifest in the bytes of the file that is, or would be, in a folder; checked.

        Raises:
            NewerPrompt: it is of a later format.
            DamagedPrompt: it is not what was written.
        """
        try:
            fields = json.loads(content.decode("utf-8"))
            json.dumps(fields, ensure_ascii=False).encode("utf-8")  # half a character, `\\ud800`, is JSON and no text
        except (ValueError, RecursionError) as error:
            raise DamagedPrompt(f"{folder / FILE} is damaged: {error}") from error
        _check_format(fields, folder)
        try:
            manifest = cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            at = ".".join(map(str, first["loc"]))
            raise DamagedPrompt(f"{folder / FILE} is damaged: {at}: {first['msg']}") from error
        try:
            expected = manifest._hash()
        except (ValueError, RecursionError) as error:
            raise DamagedPrompt(f"{folder / FILE} is damaged: it is nested too deep") from error
        if manifest.content_hash != expected:
            raise DamagedPrompt(f"{folder / FILE} was changed after it was written: its content hash does not fit")
        return manifest


def _check_format(fields: Any, folder: Path) -> None:
    if not isinstance(fields, dict) or not isinstance(fields.get("format"), int):
        raise DamagedPrompt(f"{folder / FILE} is damaged: it names no format")
    if fields["format"] > FORMAT:
        raise NewerPrompt(
            f"{folder} has format {fields['format']}, this softprompt reads up to {FORMAT}: upgrade softprompt"
        )
