"""A prompt on examples it has not seen, beside the same template with no soft prompt."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from softprompt.data import Example
from softprompt.errors import DataError, IncompleteModel, TaskError
from softprompt.evaluation.ensemble import Ensemble
from softprompt.evaluation.generating import Sampling, generate
from softprompt.evaluation.measuring import measure, row_outputs
from softprompt.model import FrozenModel, Payload
from softprompt.saved import SavedPrompt
from softprompt.tasks import Objective, Row, Task, with_answers
from softprompt.tasks.classification import ClassificationObjective
from softprompt.tasks.compact_rows import CompactRows
from softprompt.tasks.label_shares import MAJORITY, majority_share
from softprompt.tasks.metrics import bleu, is_looping
from softprompt.tasks.writing import WritingObjective

logger = logging.getLogger(__name__)

OnProgress = Callable[[str, int, int], None]
"""What is measured, how many examples are done, and how many there are."""

SOFT, HARD = "measuring the soft prompt", "measuring the hard prompt"
READING, WRITING = "examples", "responses"


def evaluate(
    model: FrozenModel,
    prompt: SavedPrompt | Sequence[SavedPrompt],
    examples: Sequence[Example],
    *,
    hard_prompt: bool = True,
    sampling: Sampling | None = None,
    by: str = "mean",
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Figures of merit of a prompt, and under `hard_prompt` those of its template alone, read by the verbalizer.

    Classification: accuracy, macro F1 (first where the labels are uneven), loss, the share of the most frequent label
    as `majority`, and under `never_answered` the labels that examples have and that are never answered. Token
    classification: F1 of names where the tags are BIO, accuracy of words, loss. Extraction: F1, exact match, loss.
    Generation and chat: perplexity and loss of the first right response, and of the greedy responses (or those of
    `sampling`) BLEU against all right ones and the share that loops.
    Several prompts classify together, by the `mean` of their probabilities or by `vote`: see `Ensemble`.

    `on_progress` gets what is measured, how many examples are done, and how many there are.

    Raises:
        WrongBaseModel: a prompt is for another model.
        RowError: an example does not fit the prompt's task.
        TaskError: several prompts that do not classify, or not for one task.
        SettingError: there is no prompt, or the sampling leaves no room for a text.
        DataError: there are no examples.
    """
    if not len(examples):
        raise DataError("there are no examples to evaluate on")
    sampling = sampling or Sampling()
    first = prompt if isinstance(prompt, SavedPrompt) else next(iter(prompt), None)
    if first is not None:
        examples = with_answers(first.manifest.task, examples)
    soft, hard = _of(on_progress, SOFT), _of(on_progress, HARD)
    if isinstance(prompt, SavedPrompt):
        payload = prompt.bound(model)
        figures = _figures(prompt.objective(model, payload), payload, examples, sampling, soft)
        task, is_headed = prompt.manifest.task, prompt.head is not None
    else:
        figures = _figures_together(Ensemble.of(model, prompt, by), examples, soft)
        task, is_headed = prompt[0].manifest.task, prompt[0].head is not None
    return {
        **figures,
        "examples": len(examples),
        **({"hard_prompt": _hard_prompt(model, task, is_headed, examples, sampling, hard)} if hard_prompt else {}),
    }


def _hard_prompt(
    model: FrozenModel,
    task: Task,
    is_headed: bool,
    examples: Sequence[Example],
    sampling: Sampling,
    on_progress: OnProgress,
) -> dict[str, Any] | None:
    """The template alone; None where it asks nothing by itself, as one without a blank that a linear head reads."""
    try:
        bare = task.bind(model, model.shape.window)
    except (TaskError, IncompleteModel) as error:
        if not is_headed:  # a prompt with a head was made to be read otherwise: there is nothing to mend
            logger.warning("no hard prompt beside it: %s", error)
        return None
    return _figures(bare, None, examples, sampling, on_progress)


def measure_hard_prompt(model: FrozenModel, task: Task, examples: Sequence[Example]) -> dict[str, float] | None:
    """What the template alone measures on examples, nothing generated; None where it asks nothing by itself."""
    try:
        bare = task.bind(model, model.shape.window)
    except (TaskError, IncompleteModel):
        return None
    return measure(bare, None, CompactRows(bare.encode_all(examples)))


def _figures_together(ensemble: Ensemble, examples: Sequence[Example], on_progress: OnProgress) -> dict[str, Any]:
    rows = CompactRows(ensemble.objective.encode_all(examples))
    outputs = ensemble.outputs(rows, on_progress=_counting(on_progress, READING, rows))
    figures = _measured(ensemble.objective, outputs, rows)
    return {**figures, "cut": sum(row.cut for row in rows)}


def _measured(objective: Objective, outputs: Tensor, rows: Sequence[Row]) -> dict[str, Any]:
    """Figures of merit; of a classification also what the most frequent label is worth, and what is never answered."""
    figures: dict[str, Any] = objective.metrics(outputs, rows)
    if not isinstance(objective, ClassificationObjective):
        return figures
    share = majority_share(torch.tensor([row.label for row in rows]))
    return {**figures, MAJORITY: share, "never_answered": list(objective.never_answered(outputs, rows))}


def _figures(
    objective: Objective,
    payload: Payload | None,
    examples: Sequence[Example],
    sampling: Sampling,
    on_progress: OnProgress,
) -> dict[str, Any]:
    rows = CompactRows(objective.encode_all(examples))
    outputs = row_outputs(objective, payload, rows, _counting(on_progress, READING, rows))
    figures = _measured(objective, outputs, rows)
    cut = [row.cut for row in rows]
    if isinstance(objective, WritingObjective):
        asked = CompactRows(objective.encode_unanswered(example, sampling.max_new_tokens) for example in examples)
        cut = [
            one or row.cut for one, row in zip(cut, asked, strict=True)
        ]  # a response to be written may need more room
        counted = _counting(on_progress, WRITING, asked)
        texts = generate(objective.model, asked, [payload] * len(asked), sampling, on_progress=counted)
        references = [objective.references(example) for example in examples]
        figures |= {"bleu": bleu(texts, references), "looping": sum(map(is_looping, texts)) / len(texts)}
    return {**figures, "cut": sum(cut)}


def _of(on_progress: OnProgress | None, whose: str) -> OnProgress:
    """Tells of one of the two prompts; nothing where there is no one to tell."""
    return lambda what, done, total: None if on_progress is None else on_progress(f"{whose}, {what}", done, total)


def _counting(on_progress: OnProgress, what: str, rows: Sequence[Row]) -> Callable[[int], None]:
    return lambda done: on_progress(what, done, len(rows))


def responses(
    objective: WritingObjective, payload: Payload | None, examples: Sequence[Example], sampling: Sampling
) -> list[str]:
    """What the model writes for each example."""
    rows = [objective.encode_unanswered(example, sampling.max_new_tokens) for example in examples]
    return generate(objective.model, rows, [payload] * len(rows), sampling)
