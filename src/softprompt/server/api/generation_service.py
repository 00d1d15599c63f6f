"""Starts the generations of a request; shared by chat completions and completions."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from softprompt.server.api_errors import ApiError
from softprompt.server.app_state import AppState, ResolvedModel
from softprompt.server.auth.authenticator import Principal
from softprompt.server.generation.generation_group import GenerationGroup
from softprompt.server.generation.generation_params import (
    derive_sampling_params,
    resolve_max_tokens,
    to_sampling_params,
)
from softprompt.server.generation.prompt_renderer import TokenizedPrompt, split_into_batches
from softprompt.server.schemas.chat_schemas import CompletionUsage, PromptTokensDetails
from softprompt.server.schemas.generation_request import GenerationRequest


@dataclass(frozen=True)
class StartedGeneration:
    """The running generations of a request, and the metadata of its response.

    Attributes:
        generations: the running generations.
        id: id of the response.
        created: creation time, Unix time in seconds.
        model_name: the version that generates, or the base model.
        system_fingerprint: fingerprint of the base model's weights.
    """

    generations: GenerationGroup
    id: str
    created: int
    model_name: str
    system_fingerprint: str

    @property
    def usage(self) -> CompletionUsage:
        """Token counts so far."""
        prompt_tokens, completion_tokens = self.generations.prompt_tokens, self.generations.completion_tokens
        return CompletionUsage(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=self.generations.cached_tokens),
        )


async def start_generation(
    state: AppState,
    principal: Principal,
    request: GenerationRequest,
    id_prefix: str,
    input_names: Sequence[str],
    texts: Sequence[object],
    render: Callable[[ResolvedModel, int], TokenizedPrompt],
) -> StartedGeneration:
    """Tokenize the texts of a request and start their generations.

    Args:
        state: components of the server.
        principal: principal of the request.
        request: parameters of the generation.
        id_prefix: prefix of the response's id.
        input_names: names of the texts in the request, for error messages.
        texts: texts of the request.
        render: tokenizes the text with a given index; called in the renderer's thread.

    Raises:
        ApiError: the request is invalid, exceeds a limit, or cannot be served now.
        SoftPromptError: the model or the task does not support the request.
    """
    if (num_sequences := len(texts) * request.n) > (limit := state.config.max_choices):
        raise ApiError(400, f"{num_sequences} responses in one request: request at most {limit}.", param="n")
    principal.charge_sequences(num_sequences)
    resolved_model = await state.resolve_model(request.model, principal.tenant)
    constraint, grammar = request.response_constraint, None
    if constraint is not None:
        grammar = await state.grammar_compiler.compile_grammar(principal.tenant, constraint)
    params = to_sampling_params(request, state.model.shape.vocab_size, grammar)
    prompts, max_tokens = list[TokenizedPrompt](), list[int]()
    for indices in split_into_batches(texts):
        batch = await state.prompt_renderer.run_in_thread(
            principal.tenant, partial(_render_batch, render, resolved_model, indices)
        )
        max_tokens += resolve_max_tokens(
            batch,
            input_names[indices.start : indices.stop],
            request.max_output_tokens,
            state.max_model_len,
            state.config.max_completion_tokens,
        )
        prompts += batch
    sampling_params = [[derive_sampling_params(params, i, limit) for i in range(request.n)] for limit in max_tokens]
    usage, timeout = state.usage_tracker.get_usage(principal.tenant, resolved_model.name), state.config.request_timeout
    generations = await GenerationGroup.start_generations(
        state.backend,
        prompts,
        input_names,
        sampling_params,
        resolved_model.name,
        principal.tenant,
        timeout,
        state.metrics,
        usage,
    )
    return StartedGeneration(
        generations, f"{id_prefix}-{uuid.uuid4().hex}", int(time.time()), resolved_model.name, state.system_fingerprint
    )


def _render_batch(
    render: Callable[[ResolvedModel, int], TokenizedPrompt], resolved_model: ResolvedModel, indices: range
) -> list[TokenizedPrompt]:
    return [render(resolved_model, index) for index in indices]
