"""A prompt on examples it has not seen, beside the same template with no soft prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from softprompt.data import Example
from softprompt.evaluation.generating import Sampling, generate
from softprompt.evaluation.measuring import measure
from softprompt.model import FrozenModel, Payload
from softprompt.saved import SavedPrompt
from softprompt.tasks import Objective
from softprompt.tasks.generation import GenerationObjective
from softprompt.tasks.metrics import bleu, is_looping


def evaluate(
    model: FrozenModel,
    prompt: SavedPrompt,
    examples: Sequence[Example],
    *,
    hard_prompt: bool = True,
    sampling: Sampling | None = None,
) -> dict[str, Any]:
    """Figures of merit of a prompt, and under `hard_prompt` those of its template alone, read by the verbalizer.

    Classification: accuracy, macro F1, loss. Generation: perplexity and loss of the first right response, and of the
    greedy responses (or those of `sampling`) BLEU against all right ones and the share that loops.

    Raises:
        WrongBaseModel: the prompt is for another model.
        RowError: an example does not fit the prompt's task.
    """
    payload = prompt.bound(model)
    figures: dict[str, Any] = _figures(prompt.objective(model, payload), payload, examples, sampling or Sampling())
    figures["examples"] = len(examples)
    if hard_prompt:
        bare = prompt.manifest.task.bind(model, model.shape.window)
        figures["hard_prompt"] = _figures(bare, None, examples, sampling or Sampling())
    return figures


def _figures(
    objective: Objective, payload: Payload | None, examples: Sequence[Example], sampling: Sampling
) -> dict[str, float]:
    rows = [objective.encode(example) for example in examples]
    figures = measure(objective, payload, rows)
    figures["cut"] = sum(row.cut for row in rows)
    if isinstance(objective, GenerationObjective):
        texts = responses(objective, payload, examples, sampling)
        references = [objective.task.references(example) for example in examples]
        figures |= {"bleu": bleu(texts, references), "looping": sum(map(is_looping, texts)) / len(texts)}
    return figures


def responses(
    objective: GenerationObjective, payload: Payload | None, examples: Sequence[Example], sampling: Sampling
) -> list[str]:
    """What the model writes for each example."""
    rows = [objective.encode_prompt(example, sampling.max_new_tokens) for example in examples]
    return generate(objective.model, rows, [payload] * len(rows), sampling)
