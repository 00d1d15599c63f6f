"""Measures a distilled prefix beside its alternatives, on the validation inputs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

import torch

from softprompt.distillation.alternatives import Alternative, build_alternatives
from softprompt.distillation.distill_report import DistillReport, ReportRow
from softprompt.distillation.distill_setup import DistillSetup
from softprompt.distillation.reference_objective import DistillationObjectives
from softprompt.distillation.targeted_inputs import ProgressCallback, TargetedInputs
from softprompt.evaluation.batch_inference import compute_metrics
from softprompt.model import KVPrefix
from softprompt.model.causal_model import CausalModel

INITIAL_PREFIX, DISTILLED = "initial prefix", "distilled"
REPORT_STAGE = "measuring the alternatives"
NUM_TIMINGS = 3


class MeasuredPrefix(NamedTuple):
    """A compiled prefix, and its metrics on the validation inputs, which the training has measured."""

    prefix: KVPrefix
    metrics: Mapping[str, float]


def build_report(
    setup: DistillSetup,
    objective: DistillationObjectives,
    inputs: TargetedInputs,
    initial: MeasuredPrefix,
    distilled: MeasuredPrefix,
    on_progress: ProgressCallback | None = None,
) -> DistillReport:
    """Measure a distilled prefix beside its alternatives.

    Args:
        setup: Setup of the run.
        objective: Divergence from the teacher.
        inputs: Inputs with the teacher's targets; at least one for validation.
        initial: Prefix before training.
        distilled: Prefix after training.
        on_progress: Called with the stage, the number of measured alternatives and their total number.
    """
    alternatives = [
        *build_alternatives(setup, distilled.prefix.num_virtual_tokens),
        Alternative(INITIAL_PREFIX, initial.prefix, metrics=initial.metrics),
        Alternative(DISTILLED, distilled.prefix, metrics=distilled.metrics),
    ]
    rows: list[ReportRow] = []
    for alternative in alternatives:
        if on_progress is not None:
            on_progress(REPORT_STAGE, len(rows), len(alternatives))
        rows.append(_measure(setup.model, objective, inputs, alternative))
    return DistillReport(
        model=setup.model.name,
        source=setup.source.describe(setup.context.num_tokens),
        num_virtual_tokens=distilled.prefix.num_virtual_tokens,
        num_validation_inputs=len(inputs.validation),
        num_answered_inputs=len(inputs.answered) or sum(example.label_index >= 0 for example in inputs.validation),
        rows=rows,
    )


def _measure(
    model: CausalModel, objective: DistillationObjectives, inputs: TargetedInputs, alternative: Alternative
) -> ReportRow:
    prefix = alternative.prefix
    known = alternative.metrics or compute_metrics(objective, prefix, inputs.validation)
    metrics = {name: value for name, value in known.items() if name != "loss"}
    if inputs.answered:
        metrics["answer_nll"] = compute_metrics(objective.base, prefix, inputs.answered)["loss"]
    input_ids = inputs.validation[0].prompt_ids
    cached_seconds = _time_pass(model, input_ids, prefix)
    has_request_tokens = bool(alternative.token_ids)
    text_ids = input_ids[prefix.has_bos :] if has_request_tokens and prefix is not None else input_ids
    return ReportRow(
        name=alternative.name,
        num_request_tokens=alternative.num_request_tokens,
        num_positions=0 if prefix is None else prefix.num_positions,
        kv_bytes=0 if prefix is None else prefix.tensor.numel() * model.dtype.itemsize,
        first_token_seconds=(
            _time_pass(model, [*alternative.token_ids, *text_ids], None) if has_request_tokens else cached_seconds
        ),
        cached_first_token_seconds=cached_seconds,
        tokens_per_second=1 / _time_next_token(model, input_ids, prefix),
        metrics=metrics,
    )


@torch.no_grad()
def _time_next_token(model: CausalModel, token_ids: Sequence[int], prefix: KVPrefix | None) -> float:
    """Time a further token of one response, behind all keys and values: the median of a few."""
    ids = list(token_ids) if prefix is None else prefix.apply_to_prompt(list(token_ids))
    input_ids = torch.tensor([ids], device=model.device)
    decoding = model.start_decoding(input_ids, torch.ones_like(input_ids, dtype=torch.bool), [prefix])
    times = []
    for _ in range(NUM_TIMINGS):
        started = time.perf_counter()
        token_id = model.compute_logits(decoding.last_hidden_state[0]).argmax()
        decoding = decoding.append_tokens(token_id.view(1))
        decoding.last_hidden_state.sum().item()  # waits for an accelerator
        times.append(time.perf_counter() - started)
    return median(times)


@torch.no_grad()
def _time_pass(model: CausalModel, token_ids: Sequence[int], prefix: KVPrefix | None) -> float:
    """Time the pass that computes the first token of a response: the median of a few."""
    ids = list(token_ids) if prefix is None else prefix.apply_to_prompt(list(token_ids))
    input_ids = torch.tensor([ids], device=model.device)
    is_last = torch.arange(len(ids), device=model.device).unsqueeze(0) == len(ids) - 1
    times = []
    for _ in range(NUM_TIMINGS):
        started = time.perf_counter()
        hidden = model.compute_hidden_states(input_ids, torch.ones_like(is_last), prefix, is_last)
        model.compute_logits(hidden[0, -1]).argmax().item()
        times.append(time.perf_counter() - started)
    return median(times)
