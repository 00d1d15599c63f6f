"""A prompt on examples it has not seen, beside the same template with no soft prompt."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from softprompt.data import Example
from softprompt.errors import IncompleteModel, TaskError
from softprompt.evaluation.ensemble import Ensemble
from softprompt.evaluation.generating import Sampling, generate
from softprompt.evaluation.measuring import measure
from softprompt.model import FrozenModel, Payload
from softprompt.saved import SavedPrompt
from softprompt.tasks import Objective, Task
from softprompt.tasks.metrics import bleu, is_looping
from softprompt.tasks.writing import WritingObjective

logger = logging.getLogger(__name__)


def evaluate(
    model: FrozenModel,
    prompt: SavedPrompt | Sequence[SavedPrompt],
    examples: Sequence[Example],
    *,
    hard_prompt: bool = True,
    sampling: Sampling | None = None,
    by: str = "mean",
) -> dict[str, Any]:
    """Figures of merit of a prompt, and under `hard_prompt` those of its template alone, read by the verbalizer.

    Classification: accuracy, macro F1, loss. Token classification: F1 of names where the tags are BIO, accuracy of
    words, loss. Extraction: F1, exact match, loss. Generation and chat: perplexity and loss of the first right
    response, and of the greedy responses (or those of `sampling`) BLEU against all right ones and the share that loops.
    Several prompts classify together, by the `mean` of their probabilities or by `vote`: see `Ensemble`.

    Raises:
        WrongBaseModel: a prompt is for another model.
        RowError: an example does not fit the prompt's task.
        TaskError: several prompts that do not classify, or not for one task.
    """
    sampling = sampling or Sampling()
    if isinstance(prompt, SavedPrompt):
        payload = prompt.bound(model)
        figures = _figures(prompt.objective(model, payload), payload, examples, sampling)
        task = prompt.manifest.task
    else:
        figures = _figures_together(Ensemble.of(model, prompt, by), examples)
        task = prompt[0].manifest.task
    return {
        **figures,
        "examples": len(examples),
        **({"hard_prompt": _hard_prompt(model, task, examples, sampling)} if hard_prompt else {}),
    }


def _hard_prompt(
    model: FrozenModel, task: Task, examples: Sequence[Example], sampling: Sampling
) -> dict[str, float] | None:
    """The template alone; None where it asks nothing by itself, as one without a blank that a linear head reads."""
    try:
        bare = task.bind(model, model.shape.window)
    except (TaskError, IncompleteModel) as error:
        logger.warning("no hard prompt beside it: %s", error)
        return None
    return _figures(bare, None, examples, sampling)


def _figures_together(ensemble: Ensemble, examples: Sequence[Example]) -> dict[str, float]:
    rows = [ensemble.objective.encode(example) for example in examples]
    figures = ensemble.objective.metrics(ensemble.outputs(rows), rows)
    return {**figures, "cut": sum(row.cut for row in rows)}


def _figures(
    objective: Objective, payload: Payload | None, examples: Sequence[Example], sampling: Sampling
) -> dict[str, float]:
    rows = [objective.encode(example) for example in examples]
    figures = measure(objective, payload, rows)
    cut = [row.cut for row in rows]
    if isinstance(objective, WritingObjective):
        asked = [objective.encode_prompt(example, sampling.max_new_tokens) for example in examples]
        cut = [
            one or row.cut for one, row in zip(cut, asked, strict=True)
        ]  # a response to be written may need more room
        texts = generate(objective.model, asked, [payload] * len(asked), sampling)
        references = [objective.references(example) for example in examples]
        figures |= {"bleu": bleu(texts, references), "looping": sum(map(is_looping, texts)) / len(texts)}
    return {**figures, "cut": sum(cut)}


def responses(
    objective: WritingObjective, payload: Payload | None, examples: Sequence[Example], sampling: Sampling
) -> list[str]:
    """What the model writes for each example."""
    rows = [objective.encode_prompt(example, sampling.max_new_tokens) for example in examples]
    return generate(objective.model, rows, [payload] * len(rows), sampling)
