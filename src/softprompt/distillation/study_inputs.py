"""The inputs that the model writes about a document: kept in the run folder, split, and encoded."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace

from pydantic import TypeAdapter

from softprompt.atomic import atomic_write_file
from softprompt.data import Example
from softprompt.distillation.distill_run_folder import DistillRunFolder
from softprompt.distillation.distill_setup import MIN_QUESTION_TOKENS, DistillSetup
from softprompt.distillation.distill_task import DistillableTask
from softprompt.distillation.inputs import EncodedInputs, build_answered_example, encode_inputs
from softprompt.distillation.self_study import MAX_PASSAGE_TOKENS, SelfStudy, StudyInput
from softprompt.distillation.targeted_inputs import ProgressCallback
from softprompt.errors import translate_os_errors
from softprompt.tasks import ChatTask, EncodedExample
from softprompt.tasks.templates.template import Template
from softprompt.training.example_splits import VALIDATION_FRACTION
from softprompt.training.random_streams import RandomStream, draw_permutation

logger = logging.getLogger(__name__)

STUDY_INPUT = TypeAdapter(StudyInput)
STUDY_STAGE = "writing questions"


def study_document(
    setup: DistillSetup, run_folder: DistillRunFolder, on_progress: ProgressCallback | None = None
) -> EncodedInputs:
    """Return inputs that the model wrote about a document: those in the run folder, or new ones, which are kept there.

    A tenth of the questions is held out, unless there are validation inputs.

    Args:
        setup: Setup of the run.
        run_folder: Folder of the run.
        on_progress: Called with the stage, the number of written questions and their total number.

    Raises:
        DiskFull: The disk is full.
    """
    written = _read_study_inputs(run_folder) or _write_study_inputs(setup, run_folder, on_progress)
    if setup.inputs.validation:
        return replace(setup.inputs, train=_encode(setup, written))
    questions = [study_input for study_input in written if study_input.output is None]
    order = draw_permutation(len(questions), setup.settings.seed, RandomStream.VALIDATION_SPLIT)
    held_out = {questions[i] for i in order[: max(1, round(len(questions) * VALIDATION_FRACTION))]}
    train = [study_input for study_input in written if study_input not in held_out]
    return EncodedInputs(_encode(setup, train), _encode(setup, sorted(held_out, key=written.index)))


def _read_study_inputs(run_folder: DistillRunFolder) -> list[StudyInput]:
    """Return the inputs in the run folder of a resumed run; empty if there are none yet, or the file is damaged."""
    try:
        lines = run_folder.questions_file.read_text("utf-8").rstrip("\n").split("\n")
        return [STUDY_INPUT.validate_json(line) for line in lines]
    except (OSError, ValueError):
        return []


def _write_study_inputs(
    setup: DistillSetup, run_folder: DistillRunFolder, on_progress: ProgressCallback | None
) -> list[StudyInput]:
    """Let the model write inputs, and keep them in the run folder."""
    settings = setup.settings

    def count_done(num_done: int) -> None:
        if on_progress is not None:
            on_progress(STUDY_STAGE, num_done, settings.num_questions)

    max_passage_tokens = min(MAX_PASSAGE_TOKENS, setup.objective.max_length - MIN_QUESTION_TOKENS)
    study = SelfStudy(setup.model, setup.task, setup.source.text, max_passage_tokens)
    written = study.write_inputs(settings.num_questions, settings.seed, count_done)
    logger.info("the model wrote %d different inputs about %s", len(written), setup.source.path)
    lines = "".join(json.dumps(asdict(study_input), ensure_ascii=False) + "\n" for study_input in written)
    with translate_os_errors(run_folder.questions_file):
        atomic_write_file(run_folder.questions_file, lines.encode())
    return written


def _encode(setup: DistillSetup, study_inputs: Sequence[StudyInput]) -> list[EncodedExample]:
    """Encode inputs, each with its answer if that is known."""
    max_new_tokens = setup.settings.max_new_tokens
    return [
        encode_inputs(setup.objective, setup.task, [_build_input(setup.task, study_input.input)], max_new_tokens)[0]
        if study_input.output is None
        else setup.objective.encode_example(build_answered_example(setup.task, study_input.input, study_input.output))
        for study_input in study_inputs
    ]


def _build_input(task: DistillableTask, text: str) -> Example:
    return Example({"input" if isinstance(task, ChatTask) else Template(task.template).get_single_field(): text})
