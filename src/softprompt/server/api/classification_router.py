"""`/v1/classify`: labels of texts, by prompts that were trained for classification."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, Request

from softprompt.evaluation import LabelPrediction
from softprompt.server.api.authenticated_route import AuthenticatedRoute
from softprompt.server.api.client_disconnect import cancel_on_disconnect
from softprompt.server.api.dependencies import RateLimitedPrincipal, ReadyStateDep
from softprompt.server.api_errors import ApiError
from softprompt.server.app_state import AppState
from softprompt.server.backends.loaded_prompt import LoadedPrompt
from softprompt.server.generation.context_length import SequenceLength, check_context_lengths
from softprompt.server.generation.input_names import list_input_names
from softprompt.server.generation.text_batches import split_into_batches
from softprompt.server.request_errors import NonFiniteResponse
from softprompt.server.schemas.classification_schemas import (
    ClassificationData,
    ClassificationRequest,
    ClassificationResponse,
    PromptUsage,
)
from softprompt.tasks import EncodedExample
from softprompt.tasks.classification_task import ClassificationObjective

router = APIRouter(tags=["softprompt"], route_class=AuthenticatedRoute)


@router.post("/v1/classify")
async def classify_texts(
    body: ClassificationRequest, principal: RateLimitedPrincipal, state: ReadyStateDep, request: Request
) -> ClassificationResponse:
    """Classify one or several texts: the label of each, and the probability of every label."""
    if len(body.input) > state.config.max_classify_inputs:
        message = f"{len(body.input)} texts in one request: send at most {state.config.max_classify_inputs}."
        raise ApiError(400, message, param="input")
    principal.charge_sequences(len(body.input))
    version = await state.resolve_version(body.model, principal.tenant)
    if version is None:
        raise ApiError(
            400, "The base model cannot classify: set `model` to a prompt whose task is classification.", param="model"
        )
    loaded_prompt = await state.prompt_cache.get_prompt(version)
    examples = await _tokenize_texts(state, principal.tenant, loaded_prompt, body.input)
    scores = await cancel_on_disconnect(request, state.backend.score_labels(loaded_prompt, examples, principal.tenant))
    if not all(math.isfinite(value) for text_scores in scores for value in text_scores):
        raise NonFiniteResponse(str(version))
    labels = loaded_prompt.task.labels
    predictions = [LabelPrediction.from_log_probabilities("", labels, text_scores) for text_scores in scores]
    num_tokens = sum(len(example) for example in examples)
    state.metrics.count_tokens(principal.tenant, prompt_tokens=num_tokens)
    state.usage_tracker.get_usage(principal.tenant, str(version)).record_request(num_tokens)
    return ClassificationResponse(
        id=f"classify-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=str(version),
        data=[
            ClassificationData(index=i, label=prediction.label, probabilities=prediction.probabilities)
            for i, prediction in enumerate(predictions)
        ],
        usage=PromptUsage(prompt_tokens=num_tokens, total_tokens=num_tokens),
    )


async def _tokenize_texts(
    state: AppState, tenant: str, loaded_prompt: LoadedPrompt, texts: Sequence[str | Mapping[str, Any]]
) -> list[EncodedExample]:
    """Tokenize the texts in batches, up to the first text that is too long.

    Raises:
        ContextLengthExceeded: a text is too long.
        InvalidRequest: a text does not fill the template.
    """
    names, examples = list_input_names("input", len(texts)), list[EncodedExample]()
    for indices in split_into_batches(texts):
        batch, batch_names = texts[indices.start : indices.stop], names[indices.start : indices.stop]
        encoded = await state.prompt_renderer.run_in_thread(
            tenant, partial(state.prompt_renderer.render_classification, loaded_prompt, batch, batch_names)
        )
        _check_lengths(batch_names, encoded, loaded_prompt, state.max_model_len)
        examples += encoded
    return examples


def _check_lengths(
    names: Sequence[str], examples: Sequence[EncodedExample], loaded_prompt: LoadedPrompt, max_model_len: int
) -> None:
    label_scorer = _classification_objective(loaded_prompt).label_scorer
    num_prefix_positions = loaded_prompt.payload.num_positions
    check_context_lengths(
        (
            SequenceLength(name, num_prefix_positions + len(example), label_scorer.max_extra_tokens, max_model_len)
            for name, example in zip(names, examples, strict=True)
        ),
        max_model_len,
    )


def _classification_objective(loaded_prompt: LoadedPrompt) -> ClassificationObjective:
    assert isinstance(loaded_prompt.objective, ClassificationObjective)  # checked by PromptRenderer
    return loaded_prompt.objective
