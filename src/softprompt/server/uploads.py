"""A saved prompt that a client brings: bytes under known names, which are not believed. It knows no HTTP.

Nothing is unpacked, evaluated or looked up: no path, no pickle, no template language. Checked are, in this order: which
files came, and how large they are; the manifest, and that it is for the served model; the header of the numbers, whose
names, types, shapes and places must be those that the manifest and the model make. Only then tensors are made of the
bytes, the hashes are compared, and the task is put on the model. Then whoever runs the model tries the prompt: see
`Backend.verify`.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from softprompt.errors import DamagedPrompt, NotASavedPrompt, WrongBaseModel
from softprompt.model import FrozenModel, ModelShape, Placement
from softprompt.saved import Base, Manifest, SavedPrompt
from softprompt.server.fair_limit import FairLimit
from softprompt.server.refusal import Refusal
from softprompt.server.tensor_header import check_header
from softprompt.tasks import ClassificationTask, Task
from softprompt.tasks.template import Template

KIB, MIB = 2**10, 2**20

MANIFEST, OWN = "softprompt.json", "prompt.safetensors"
PEFT = ("adapter_config.json", "adapter_model.safetensors")
WHERE = Path("upload")  # what messages call the folder that there is none of
LONGEST_NAME = 500


@dataclass(frozen=True)
class UploadLimits:
    """How much may be brought in.

    Attributes:
        total: bytes of a request with its files.
        manifest: bytes of `softprompt.json`.
        config: bytes of `adapter_config.json`.
        labels: labels of a task.
        label_characters: characters of all its labels and verbalizer words together.
        tenant: bytes that all versions of a tenant's prompts may have together; None for any number.
    """

    total: int = 64 * MIB
    manifest: int = 256 * KIB
    config: int = 64 * KIB
    labels: int = 10_000
    label_characters: int = 128 * KIB
    tenant: int | None = 1024 * MIB

    def of(self, name: str) -> int:
        """The most bytes of a file with this name."""
        return {MANIFEST: self.manifest, PEFT[0]: self.config}.get(name, self.total)


async def _trust(_prompt: SavedPrompt, _name: str, _tenant: str) -> None:
    """Nobody is there to try it."""


class Uploads:
    """Takes prompts for one model.

    Args:
        model: the served one.
        limits: how much may be brought in.
        check: refuses what is right, and cannot be used here.
        verify: tries a prompt with a name of a tenant's on the model, and refuses one that overflows there.

    Attributes:
        turns: held by the one upload that is in memory: however many come, it is one that takes the room.
    """

    def __init__(
        self,
        model: FrozenModel,
        limits: UploadLimits | None = None,
        check: Callable[[SavedPrompt], None] = lambda _: None,
        verify: Callable[[SavedPrompt, str, str], Awaitable[None]] = _trust,
    ):
        self._check, self.verify = check, verify
        self.model, self.limits, self._base = copy.copy(model), limits or UploadLimits(), Base.of(model)
        self.model.tokenizer = copy.deepcopy(model.tokenizer)  # no two threads may use one
        self.turns = FairLimit(1)

    def check_files(self, sizes: Mapping[str, int]) -> None:
        """Look at names and sizes, before anything is read.

        Raises:
            NotASavedPrompt: these are not the files of one.
            Refusal: 413, one is too large.
        """
        if set(sizes) not in ({MANIFEST, OWN}, {MANIFEST, *PEFT}):
            known = f"{MANIFEST} with {OWN}, or with {' and '.join(PEFT)}"
            raise NotASavedPrompt(f"a saved prompt is {known}; {_listed(sizes)} came")
        for name, size in sizes.items():
            if size > self.limits.of(name):
                problem = f"{name} is larger than {self.limits.of(name):,} bytes, the most that is taken"
                raise Refusal(413, problem, param="file", code="too_large")

    def read(self, files: Mapping[str, bytes]) -> SavedPrompt:
        """The saved prompt in these files, fit for this model.

        Raises:
            NotASavedPrompt, DamagedPrompt, NewerPrompt: it is none.
            WrongBaseModel: it is for another model.
            TaskError: its task cannot be put on this model.
            Refusal: 413, a file is too large; or it cannot be used here.
        """
        self.check_files({name: len(content) for name, content in files.items()})
        manifest = Manifest.parse(files[MANIFEST], WHERE)
        self._check_base(manifest)
        self._check_words(manifest)
        self._check_labels(manifest.task)
        name = OWN if OWN in files else PEFT[1]
        check_header(files[name], _shapes(manifest, name == OWN), WHERE / name)
        saved = SavedPrompt.parse(manifest, {name: each for name, each in files.items() if name != MANIFEST}, WHERE)
        self._check_use(saved)
        self._check(saved)
        return saved

    def _check_base(self, manifest: Manifest) -> None:
        base, served = manifest.base, self._base
        if not self.model.may_be(base.fingerprint):
            raise WrongBaseModel(
                f"this prompt was made for {base.name[:LONGEST_NAME]} ({base.fingerprint[:LONGEST_NAME]}), "
                f"and this server has {Path(served.name).name} ({served.fingerprint}): train it on that one"
            )
        if replace(base.shape, window=served.shape.window) != served.shape:
            raise DamagedPrompt("the manifest names this server's model, and gives sizes that it does not have")
        if manifest.num_virtual_tokens >= served.shape.window:
            raise DamagedPrompt(
                f"{manifest.num_virtual_tokens} virtual tokens leave no room for text: a row has {served.shape.window}"
            )

    def _check_words(self, manifest: Manifest) -> None:
        """What people will read in tables and on terminals."""
        words = {"base.name": manifest.base.name, "method.name": str(manifest.method.get("name", ""))}
        for field, text in words.items():
            if len(text) > LONGEST_NAME or not text.isprintable():
                raise DamagedPrompt(f"{field} in the manifest is no name: up to {LONGEST_NAME} printable characters")

    def _check_labels(self, task: Task) -> None:
        """That there are no more labels, and no longer ones, than a server takes on: each costs at every text.

        Raises:
            Refusal: there are.
        """
        words = task.words if isinstance(task, ClassificationTask) else {}
        characters = sum(map(len, [*task.labels, *words, *words.values()]))
        for count, limit, what in (
            (max(len(task.labels), len(words)), self.limits.labels, "labels"),
            (characters, self.limits.label_characters, "characters in its labels and verbalizer words"),
        ):
            if count > limit:
                problem = f"the prompt has {count:,} {what}, and {limit:,} is the most that is taken: use fewer"
                raise Refusal(413, problem, param="file", code="too_large")

    def _check_use(self, saved: SavedPrompt) -> None:
        """That rows can stand behind it: a prompt that could not be asked is not taken."""
        if saved.payload.placement not in self.model.placements:
            raise DamagedPrompt(f"virtual tokens {saved.payload.placement}: this server's model has no such place")
        if saved.payload.placement is Placement.AFTER_BOS and self.model.bos is None:
            raise DamagedPrompt("virtual tokens after-bos: this server's model has no BOS token")
        markers, standing = Template(saved.manifest.task.template).num_virtual_tokens, _in_template(saved)
        if markers != standing:
            raise DamagedPrompt(f"the template has {markers} markers for virtual tokens, and {standing} stand in it")
        saved.check_base(self.model)
        saved.objective(self.model, saved.payload)


def _in_template(saved: SavedPrompt) -> int:
    """How many virtual tokens stand where the template says."""
    return saved.manifest.num_virtual_tokens if saved.payload.placement is Placement.IN_TEMPLATE else 0


def _shapes(manifest: Manifest, is_own: bool) -> dict[str, tuple[int, ...]]:
    """The shape that each tensor must have; those of a head may be missing, as far as the header goes."""
    shape, rows = manifest.base.shape, manifest.num_virtual_tokens + manifest.has_bos
    shapes: dict[str, tuple[int, ...]] = {"prompt_embeddings": (rows, _width(shape, manifest.payload == "prefix"))}
    if is_own and (labels := len(manifest.task.labels)):
        shapes |= {"head.weight": (labels, shape.hidden_size), "head.bias": (labels,)}
    return shapes


def _width(shape: ModelShape, is_prefix: bool) -> int:
    return 2 * shape.num_layers * shape.num_kv_heads * shape.head_dim if is_prefix else shape.embedding_size


def _listed(names: Mapping[str, int]) -> str:
    return ", ".join(name if name in (MANIFEST, OWN, *PEFT) else "another file" for name in sorted(names)) or "nothing"
