"""Inputs with the teacher's targets: read from the run folder, or computed and kept there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from softprompt.distillation.distill_setup import DistillSetup
from softprompt.distillation.inputs import EncodedInputs
from softprompt.distillation.target_store import read_targets, write_targets
from softprompt.tasks import EncodedExample

TEACHER_STAGE = "asking the teacher"

ProgressCallback = Callable[[str, int, int], None]
"""Called with the stage, the number of finished items and their total number."""


@dataclass(frozen=True)
class TargetedInputs:
    """Inputs with the teacher's targets.

    Attributes:
        train: Inputs to train on.
        validation: Inputs that select the best step; empty if there are too few.
        answered: Those of the validation inputs whose right response is known, with that response instead.
    """

    train: Sequence[EncodedExample]
    validation: Sequence[EncodedExample]
    answered: Sequence[EncodedExample] = ()

    @property
    def lengths(self) -> list[int]:
        """Number of tokens of each input to train on, with the teacher's response."""
        return [len(example) for example in self.train]

    def __getitem__(self, index: int) -> EncodedExample:
        """Return an input to train on."""
        return self.train[index]


def prepare_targets(
    setup: DistillSetup,
    inputs: EncodedInputs,
    targets_file: Path,
    on_progress: ProgressCallback | None = None,
) -> TargetedInputs:
    """Return the inputs with the teacher's targets, and keep the targets in a file for a run with the same inputs.

    Args:
        setup: Setup of the run.
        inputs: Encoded inputs.
        targets_file: File that the targets are read from, or written to.
        on_progress: Called with the stage, the number of answered inputs and their total number.

    Raises:
        DiskFull: The disk is full.
    """
    examples = [*inputs.train, *inputs.validation]
    if not examples:
        return TargetedInputs((), ())
    digest = setup.compute_targets_digest(inputs)
    targeted = read_targets(targets_file, examples, digest)
    if targeted is None:

        def count_done(num_done: int) -> None:
            if on_progress is not None:
                on_progress(TEACHER_STAGE, num_done, len(examples))

        count_done(0)
        targeted = setup.create_teacher().add_targets(examples, count_done)
        write_targets(targets_file, targeted, digest)
    num_train = len(inputs.train)
    return TargetedInputs(targeted[:num_train], targeted[num_train:], inputs.answered)
