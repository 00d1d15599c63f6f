"""Validation of uploaded prompts: untrusted bytes under known file names.

Nothing is unpacked, evaluated or resolved: no paths, no pickle, no template language. The checks run in this order:
file names and sizes; the manifest and its base model; the header of the tensors, whose names, dtypes, shapes and byte
ranges must match the manifest and the model. Only then the tensors are read, the hashes compared, and the task is bound
to the model. Finally the backend runs the prompt once: see `InferenceBackend.verify_prompt`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from softprompt.errors import BaseModelMismatch, CorruptPrompt, NotASavedPrompt
from softprompt.model import FrozenModel, ModelShape, Placement
from softprompt.saved import BaseModelInfo, Manifest, SavedPrompt
from softprompt.server.concurrency.fair_semaphore import FairSemaphore
from softprompt.server.private_tokenizer import with_private_tokenizer
from softprompt.server.prompts.safetensors_header import check_header_tensors
from softprompt.server.request_errors import UploadTooLarge
from softprompt.tasks import ClassificationTask, Task
from softprompt.tasks.templates.template import Template

KIB, MIB = 2**10, 2**20

MANIFEST_FILE, TENSORS_FILE = "softprompt.json", "prompt.safetensors"
PEFT_FILES = ("adapter_config.json", "adapter_model.safetensors")
UPLOAD_PATH = Path("upload")  # stands for the prompt's folder in messages
MAX_NAME_CHARACTERS = 500


@dataclass(frozen=True)
class UploadLimits:
    """The limits of uploads.

    Attributes:
        max_request_bytes: maximum bytes of a request with its files.
        max_manifest_bytes: maximum bytes of `softprompt.json`.
        max_config_bytes: maximum bytes of `adapter_config.json`.
        max_labels: maximum labels of a task.
        max_label_characters: maximum characters of all labels and verbalizer words together.
        max_tenant_bytes: maximum bytes of all versions of a tenant; None for no limit.
    """

    max_request_bytes: int = 64 * MIB
    max_manifest_bytes: int = 256 * KIB
    max_config_bytes: int = 64 * KIB
    max_labels: int = 10_000
    max_label_characters: int = 128 * KIB
    max_tenant_bytes: int | None = 1024 * MIB

    def get_file_limit(self, file_name: str) -> int:
        """Return the maximum bytes of a file."""
        return {MANIFEST_FILE: self.max_manifest_bytes, PEFT_FILES[0]: self.max_config_bytes}.get(
            file_name, self.max_request_bytes
        )


async def _skip_verification(_prompt: SavedPrompt, _name: str, _tenant: str) -> None:
    """Skip the verification, for validators without a backend."""


class UploadValidator:
    """A validator of uploaded prompts for one base model.

    Args:
        model: base model of the server.
        limits: limits of uploads.
        validate_prompt: rejects valid prompts that the backend does not support.
        verify_prompt: runs a prompt of a tenant once, and rejects it if the logits are not finite.

    Attributes:
        upload_semaphore: held by the single upload whose files are in memory, to bound the memory of all uploads.
    """

    def __init__(
        self,
        model: FrozenModel,
        limits: UploadLimits | None = None,
        validate_prompt: Callable[[SavedPrompt], None] = lambda _: None,
        verify_prompt: Callable[[SavedPrompt, str, str], Awaitable[None]] = _skip_verification,
    ):
        self._validate_prompt, self.verify_prompt = validate_prompt, verify_prompt
        self.model, self._base_model = with_private_tokenizer(model), BaseModelInfo.from_model(model)
        self.limits = limits or UploadLimits()
        self.upload_semaphore = FairSemaphore(1)

    def check_files(self, sizes: Mapping[str, int]) -> None:
        """Check the names and sizes of files before their contents are read.

        Raises:
            NotASavedPrompt: the files are not those of a saved prompt.
            UploadTooLarge: a file is too large.
        """
        if set(sizes) not in ({MANIFEST_FILE, TENSORS_FILE}, {MANIFEST_FILE, *PEFT_FILES}):
            expected = f"{MANIFEST_FILE} with {TENSORS_FILE}, or with {' and '.join(PEFT_FILES)}"
            raise NotASavedPrompt(f"the upload has {_format_file_names(sizes)}: send {expected}")
        for name, size in sizes.items():
            if size > self.limits.get_file_limit(name):
                problem = f"{name} is larger than the maximum of {self.limits.get_file_limit(name):,} bytes"
                raise UploadTooLarge(problem)

    def parse_prompt(self, files: Mapping[str, bytes]) -> SavedPrompt:
        """Parse and validate the files of a saved prompt.

        Raises:
            NotASavedPrompt, CorruptPrompt, UnsupportedPromptFormat: the files are not a valid saved prompt.
            BaseModelMismatch: the prompt is for another base model.
            TaskError: the base model does not support the task.
            UploadTooLarge: a file, or a label, is too large.
            InvalidRequest: the backend does not support the prompt.
        """
        self.check_files({name: len(content) for name, content in files.items()})
        manifest = Manifest.from_bytes(files[MANIFEST_FILE], UPLOAD_PATH)
        self._check_base_model(manifest)
        self._check_display_names(manifest)
        self._check_label_limits(manifest.task)
        name = TENSORS_FILE if TENSORS_FILE in files else PEFT_FILES[1]
        check_header_tensors(files[name], _get_expected_shapes(manifest, name == TENSORS_FILE), UPLOAD_PATH / name)
        saved_prompt = SavedPrompt.from_manifest(
            manifest, {name: content for name, content in files.items() if name != MANIFEST_FILE}, UPLOAD_PATH
        )
        self._check_servable(saved_prompt)
        self._validate_prompt(saved_prompt)
        return saved_prompt

    def _check_base_model(self, manifest: Manifest) -> None:
        base, served = manifest.base, self._base_model
        if not self.model.matches_fingerprint(base.fingerprint):
            raise BaseModelMismatch(
                f"this prompt was trained on {base.name[:MAX_NAME_CHARACTERS]} "
                f"({base.fingerprint[:MAX_NAME_CHARACTERS]}), but this server runs {Path(served.name).name} "
                f"({served.fingerprint}): train a prompt on that model"
            )
        if replace(base.shape, window=served.shape.window) != served.shape:
            raise CorruptPrompt("the manifest names this server's model, but with other sizes")
        if manifest.num_virtual_tokens >= served.shape.window:
            raise CorruptPrompt(
                f"{manifest.num_virtual_tokens} virtual tokens leave no space for text: "
                f"the model's context has {served.shape.window} positions"
            )

    def _check_display_names(self, manifest: Manifest) -> None:
        """Check the names that tables and terminals display."""
        names = {"base.name": manifest.base.name, "method.name": str(manifest.method.get("name", ""))}
        for field, text in names.items():
            if len(text) > MAX_NAME_CHARACTERS or not text.isprintable():
                raise CorruptPrompt(
                    f"{field} in the manifest is invalid: use at most {MAX_NAME_CHARACTERS} printable characters"
                )

    def _check_label_limits(self, task: Task) -> None:
        """Check the number and the length of the labels, which cost time and memory at every text.

        Raises:
            UploadTooLarge: a limit is exceeded.
        """
        words = task.words if isinstance(task, ClassificationTask) else {}
        characters = sum(map(len, [*task.labels, *words, *words.values()]))
        for count, limit, noun in (
            (max(len(task.labels), len(words)), self.limits.max_labels, "labels"),
            (characters, self.limits.max_label_characters, "characters in its labels and verbalizer words"),
        ):
            if count > limit:
                problem = f"the prompt has {count:,} {noun}: use at most {limit:,}"
                raise UploadTooLarge(problem)

    def _check_servable(self, saved_prompt: SavedPrompt) -> None:
        """Check that the base model can run with the prompt."""
        if saved_prompt.payload.placement not in self.model.placements:
            raise CorruptPrompt(f"placement {saved_prompt.payload.placement} is not supported by this server's model")
        if saved_prompt.payload.placement is Placement.AFTER_BOS and self.model.prompt_tokenizer.bos_token_id is None:
            raise CorruptPrompt("placement after-bos is not supported: this server's model has no BOS token")
        num_markers = Template(saved_prompt.manifest.task.template).num_virtual_tokens
        num_tokens = _count_template_tokens(saved_prompt)
        if num_markers != num_tokens:
            raise CorruptPrompt(
                f"the template has {num_markers} virtual-token markers, but the prompt has {num_tokens} virtual tokens "
                "in the template"
            )
        saved_prompt.check_base_model(self.model)
        saved_prompt.build_objective(self.model, saved_prompt.payload)


def _count_template_tokens(saved_prompt: SavedPrompt) -> int:
    """Return the number of virtual tokens that belong to markers of the template."""
    return saved_prompt.manifest.num_virtual_tokens if saved_prompt.payload.placement is Placement.IN_TEMPLATE else 0


def _get_expected_shapes(manifest: Manifest, is_native: bool) -> dict[str, tuple[int, ...]]:
    """Return the expected shapes by tensor name; the header may omit the tensors of a head."""
    shape, num_rows = manifest.base.shape, manifest.num_virtual_tokens + manifest.has_bos
    shapes: dict[str, tuple[int, ...]] = {
        "prompt_embeddings": (num_rows, _get_row_width(shape, manifest.payload == "prefix"))
    }
    if is_native and (labels := len(manifest.task.labels)):
        shapes |= {"head.weight": (labels, shape.hidden_size), "head.bias": (labels,)}
    return shapes


def _get_row_width(shape: ModelShape, is_prefix: bool) -> int:
    return 2 * shape.num_layers * shape.num_kv_heads * shape.head_dim if is_prefix else shape.embedding_size


def _format_file_names(names: Mapping[str, int]) -> str:
    return (
        ", ".join(
            name if name in (MANIFEST_FILE, TENSORS_FILE, *PEFT_FILES) else "another file" for name in sorted(names)
        )
        or "nothing"
    )
