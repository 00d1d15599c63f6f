"""Measures a distilled prefix beside its alternatives, on the validation inputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import torch

from softprompt.distillation.alternatives import Alternative, build_alternatives
from softprompt.distillation.distill_report import DistillReport, ReportRow
from softprompt.distillation.distill_setup import DistillSetup
from softprompt.distillation.distillation_objective import DistillationObjective
from softprompt.distillation.targeted_inputs import ProgressCallback, TargetedInputs
from softprompt.distillation.teacher_quality import TeacherQuality
from softprompt.evaluation.batch_inference import collect_outputs, compute_metrics
from softprompt.model import KVPrefix
from softprompt.tasks import EncodedExample

INITIAL_NAME, DISTILLED_NAME = "initial prefix", "distilled"
REPORT_STAGE = "measuring the alternatives"
NUM_TIMINGS = 3


def build_report(
    setup: DistillSetup,
    objective: DistillationObjective,
    inputs: TargetedInputs,
    teacher: TeacherQuality,
    initial_prefix: KVPrefix,
    distilled_prefix: KVPrefix,
    on_progress: ProgressCallback | None = None,
) -> DistillReport:
    """Measure a distilled prefix beside its alternatives.

    Args:
        setup: Setup of the run.
        objective: Divergence from the teacher.
        inputs: Inputs with the teacher's targets; at least one to validate with.
        teacher: Quality of the teacher.
        initial_prefix: Compiled prefix before training.
        distilled_prefix: Compiled prefix after training.
        on_progress: Called with the stage, the number of measured alternatives and their total number.
    """
    num_virtual_tokens = distilled_prefix.num_virtual_tokens
    alternatives = [
        *build_alternatives(setup, num_virtual_tokens),
        Alternative(INITIAL_NAME, initial_prefix, 0),
        Alternative(DISTILLED_NAME, distilled_prefix, 0),
    ]
    rows = []
    for alternative in alternatives:
        if on_progress is not None:
            on_progress(REPORT_STAGE, len(rows), len(alternatives))
        rows.append(_measure(setup, objective, inputs, alternative))
    return DistillReport(
        model=setup.model.name,
        source=setup.source.describe(setup.context.num_tokens),
        num_virtual_tokens=num_virtual_tokens,
        num_validation_inputs=len(inputs.validation),
        teacher=teacher.to_metrics(),
        rows=rows,
    )


def _measure(
    setup: DistillSetup, objective: DistillationObjective, inputs: TargetedInputs, alternative: Alternative
) -> ReportRow:
    prefix = alternative.prefix
    outputs = collect_outputs(objective, prefix, inputs.validation)
    metrics = objective.compute_metrics(outputs, inputs.validation)
    metrics.pop("loss")
    if inputs.answered:
        metrics["answer_nll"] = compute_metrics(objective.base, prefix, inputs.answered)["loss"]
    num_positions = 0 if prefix is None else prefix.num_positions
    return ReportRow(
        name=alternative.name,
        num_request_tokens=alternative.num_request_tokens,
        num_positions=num_positions,
        kv_bytes=0 if prefix is None else prefix.tensor.numel() * setup.model.dtype.itemsize,
        first_token_seconds=_time_first_token(objective, inputs.validation[0], alternative, setup),
        metrics=metrics,
    )


def _time_first_token(
    objective: DistillationObjective, example: EncodedExample, alternative: Alternative, setup: DistillSetup
) -> float:
    """Time the pass that computes the first token, over the tokens that the request has."""
    if alternative.num_request_tokens:
        token_ids = [*_get_token_ids(alternative, setup), *example.prompt_ids]
        return _time_pass(setup, token_ids, None)
    return _time_pass(setup, example.prompt_ids, alternative.prefix)
