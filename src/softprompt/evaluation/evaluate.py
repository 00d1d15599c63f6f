"""Evaluation of a prompt on held-out examples, compared with the hard prompt of the same template."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from softprompt.data import Example
from softprompt.errors import DataError, IncompleteModel, TaskError
from softprompt.evaluation.batch_inference import collect_outputs, compute_metrics
from softprompt.evaluation.ensemble import PromptEnsemble
from softprompt.evaluation.text_generation import check_sampling, generate_texts
from softprompt.model import FrozenModel, Payload
from softprompt.sampling import SamplingParams
from softprompt.saved import SavedPrompt
from softprompt.tasks import ChatTask, EncodedExample, Objective, Task, filter_answered
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.compact_examples import CompactExamples
from softprompt.tasks.language_modeling_objective import LanguageModelingObjective
from softprompt.tasks.metrics.label_metrics import MAJORITY_METRIC, compute_majority_share
from softprompt.tasks.metrics.text_metrics import corpus_bleu_score, has_repeated_ngram

logger = logging.getLogger(__name__)

EvalProgressCallback = Callable[[str, int, int], None]
"""Called with the stage, the number of finished examples and their total number."""

SOFT_PROMPT_STAGE, HARD_PROMPT_STAGE = "evaluating the soft prompt", "evaluating the hard prompt"
EXAMPLES_STAGE, RESPONSES_STAGE = "examples", "responses"


def evaluate(
    model: FrozenModel,
    prompt: SavedPrompt | Sequence[SavedPrompt],
    examples: Sequence[Example],
    *,
    hard_prompt: bool = True,
    sampling: SamplingParams | None = None,
    combine: str = "mean",
    on_progress: EvalProgressCallback | None = None,
) -> dict[str, Any]:
    """Compute the metrics of a prompt, and under `hard_prompt` those of its template without virtual tokens.

    Classification: accuracy, macro F1 (first if the labels are imbalanced), loss, the share of the most frequent label
    as `majority`, and as `never_answered` the labels that occur in the examples but are never predicted. Token
    classification: F1 of entities if the tags are BIO, accuracy of words, loss. Extraction: F1, exact match, loss.
    Generation and chat: perplexity and loss of the first reference response. The responses, greedy or by `sampling`,
    give BLEU against all references, and the share of repetitive responses as `looping`. All tasks: the number of
    truncated texts as `cut`.

    Several prompts classify together, by the `mean` of their probabilities or by `vote`: see `PromptEnsemble`.

    Args:
        model: base model of the prompts.
        prompt: saved prompt, or several of one classification task.
        examples: examples with known answers.
        hard_prompt: evaluate the template without virtual tokens as well.
        sampling: sampling parameters of generated responses; greedy by default. Example i draws with `seed` + i.
        combine: how several prompts are combined: `mean` or `vote`.
        on_progress: called with the stage, the number of finished examples and their total number.

    Returns:
        The metrics by name.

    Raises:
        BaseModelMismatch: a prompt belongs to another model.
        RecordError: an example does not fit the prompt's task.
        TaskError: several prompts do not classify, or have different tasks.
        SettingError: there is no prompt, or `sampling` leaves no space for a text, or it requests more than text.
        DataError: there are no examples.
    """
    if not len(examples):
        raise DataError("there are no examples to evaluate on: pass at least one")
    sampling = sampling or SamplingParams()
    check_sampling(model, sampling)
    first = prompt if isinstance(prompt, SavedPrompt) else next(iter(prompt), None)
    if first is not None:
        examples = filter_answered(first.manifest.task, examples)
    on_soft_progress = _label_progress(on_progress, SOFT_PROMPT_STAGE)
    if isinstance(prompt, SavedPrompt):
        payload = prompt.compile_for(model)
        metrics = _compute_prompt_metrics(
            prompt.build_objective(model, payload), payload, examples, sampling, on_soft_progress
        )
        task, has_head = prompt.manifest.task, prompt.head is not None
    else:
        metrics = _compute_ensemble_metrics(
            PromptEnsemble.from_prompts(model, prompt, combine), examples, on_soft_progress
        )
        task, has_head = prompt[0].manifest.task, prompt[0].head is not None
    metrics["examples"] = len(examples)
    if hard_prompt:
        on_hard_progress = _label_progress(on_progress, HARD_PROMPT_STAGE)
        metrics["hard_prompt"] = _evaluate_hard_prompt(model, task, has_head, examples, sampling, on_hard_progress)
    return metrics


def _evaluate_hard_prompt(
    model: FrozenModel,
    task: Task,
    has_head: bool,
    examples: Sequence[Example],
    sampling: SamplingParams,
    on_progress: EvalProgressCallback,
) -> dict[str, Any] | None:
    """Compute the template's metrics without virtual tokens; None if the template alone defines no task.

    A template without a blank, for example, needs a linear head.
    """
    try:
        objective = _build_hard_objective(model, task)
    except (TaskError, IncompleteModel) as error:
        if not has_head:  # with a head this is expected: the user has nothing to fix
            logger.warning("the hard prompt was not evaluated: %s", error)
        return None
    return _compute_prompt_metrics(objective, None, examples, sampling, on_progress)


def _build_hard_objective(model: FrozenModel, task: Task) -> Objective:
    """Bind a task without virtual tokens. A chat whose system message they contain gets that of the chat template.

    Raises:
        TaskError, IncompleteModel: the template alone defines no task.
    """
    if isinstance(task, ChatTask):
        task = task.model_copy(update={"system_message": "template"})
    return task.build_objective(model, model.shape.window)


def compute_hard_prompt_metrics(model: FrozenModel, task: Task, examples: Sequence[Example]) -> dict[str, float] | None:
    """Compute the template's metrics without virtual tokens and generation; None if it defines no task."""
    try:
        objective = _build_hard_objective(model, task)
    except (TaskError, IncompleteModel):
        return None
    return compute_metrics(objective, None, CompactExamples(objective.encode_examples(examples)))


def _compute_ensemble_metrics(
    ensemble: PromptEnsemble, examples: Sequence[Example], on_progress: EvalProgressCallback
) -> dict[str, Any]:
    encoded = CompactExamples(ensemble.objective.encode_examples(examples))
    outputs = ensemble.compute_log_probabilities(
        encoded, on_progress=_count_progress(on_progress, EXAMPLES_STAGE, encoded)
    )
    metrics = _compute_task_metrics(ensemble.objective, outputs, encoded)
    return {**metrics, "cut": encoded.num_truncated}


def _compute_task_metrics(objective: Objective, outputs: Tensor, examples: Sequence[EncodedExample]) -> dict[str, Any]:
    """Compute the objective's metrics; for classification also the majority share and the never predicted labels."""
    metrics: dict[str, Any] = objective.compute_metrics(outputs, examples)
    if not isinstance(objective, ClassificationObjective):
        return metrics
    share = compute_majority_share(torch.tensor([example.label_index for example in examples]))
    return {
        **metrics,
        MAJORITY_METRIC: share,
        "never_answered": list(objective.find_unpredicted_labels(outputs, examples)),
    }


def _compute_prompt_metrics(
    objective: Objective,
    payload: Payload | None,
    examples: Sequence[Example],
    sampling: SamplingParams,
    on_progress: EvalProgressCallback,
) -> dict[str, Any]:
    encoded = CompactExamples(objective.encode_examples(examples))
    outputs = collect_outputs(objective, payload, encoded, _count_progress(on_progress, EXAMPLES_STAGE, encoded))
    metrics = _compute_task_metrics(objective, outputs, encoded)
    if not isinstance(objective, LanguageModelingObjective):
        return {**metrics, "cut": encoded.num_truncated}
    prompts = CompactExamples(objective.encode_without_answer(example, sampling.max_new_tokens) for example in examples)
    on_responses = _count_progress(on_progress, RESPONSES_STAGE, prompts)
    texts = generate_texts(objective.model, prompts, [payload] * len(prompts), sampling, on_progress=on_responses)
    response_metrics = {
        "bleu": corpus_bleu_score(texts, [objective.get_references(example) for example in examples]),
        "looping": sum(map(has_repeated_ngram, texts)) / len(texts),
    }
    # The space for a generated response may be larger than the reference, so that only the prompt is truncated.
    pairs = zip(encoded, prompts, strict=True)
    num_truncated = sum(example.is_truncated or prompt.is_truncated for example, prompt in pairs)
    return {**metrics, **response_metrics, "cut": num_truncated}


def _label_progress(on_progress: EvalProgressCallback | None, label: str) -> EvalProgressCallback:
    """Return a callback that puts a label in front of the stage."""
    return lambda stage, done, total: None if on_progress is None else on_progress(f"{label}, {stage}", done, total)


def _count_progress(
    on_progress: EvalProgressCallback, stage: str, examples: Sequence[EncodedExample]
) -> Callable[[int], None]:
    return lambda done: on_progress(stage, done, len(examples))


def generate_responses(
    objective: LanguageModelingObjective, payload: Payload | None, examples: Sequence[Example], sampling: SamplingParams
) -> list[str]:
    """Generate a response for each example."""
    encoded = [objective.encode_without_answer(example, sampling.max_new_tokens) for example in examples]
    return generate_texts(objective.model, encoded, [payload] * len(encoded), sampling)
