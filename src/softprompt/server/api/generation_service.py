"""Generation of the response to a request, for chat completions and completions."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from fastapi import Request, Response
from pydantic import BaseModel

from softprompt.server.api.client_disconnect import cancel_on_disconnect
from softprompt.server.api.event_stream_response import EventStreamResponse
from softprompt.server.api_errors import ApiError
from softprompt.server.app_state import AppState
from softprompt.server.auth.principal import Principal
from softprompt.server.backends.loaded_prompt import LoadedPrompt
from softprompt.server.generation.generation_group import GenerationGroup
from softprompt.server.generation.generation_params import (
    derive_sampling_params,
    resolve_max_tokens,
    to_sampling_params,
)
from softprompt.server.generation.generation_recorder import GenerationRecorder
from softprompt.server.generation.response_formatter import ResponseFormatter, ResponseMetadata, ResponseT
from softprompt.server.generation.text_batches import split_into_batches
from softprompt.server.generation.tokenized_prompt import TokenizedPrompt
from softprompt.server.schemas.generation_request import GenerationRequest


@dataclass(frozen=True)
class RequestInputs:
    """The texts of a request, to which responses are generated.

    Attributes:
        texts: texts, token ids, or the messages of a chat.
        names: names of the texts in the request, for error messages.
        render: tokenizes the text with a given index for a prompt; called in the renderer's thread.
    """

    texts: Sequence[object]
    names: Sequence[str]
    render: Callable[[LoadedPrompt | None, int], TokenizedPrompt]


async def generate_response(
    state: AppState,
    principal: Principal,
    request: Request,
    body: GenerationRequest,
    inputs: RequestInputs,
    formatter: ResponseFormatter[ResponseT],
) -> Response | ResponseT:
    """Generate the responses to a request's texts: at once, or as a stream of events.

    Args:
        state: components of the server.
        principal: principal of the request.
        request: HTTP request, whose client may disconnect.
        body: parameters of the generation.
        inputs: texts of the request.
        formatter: formats the response.

    Raises:
        RequestError: the request is invalid, exceeds a limit, or cannot be served now.
        SoftPromptError: the model or the task does not support the request.
    """
    group = await start_generations(state, principal, body, inputs)
    response_id = f"{formatter.id_prefix}-{uuid.uuid4().hex}"
    metadata = ResponseMetadata(response_id, int(time.time()), group.model_name, state.system_fingerprint)
    if body.stream:
        include_usage = body.stream_options is not None and body.stream_options.include_usage
        return EventStreamResponse(_stream_chunks(group, formatter, metadata, include_usage), group.close)
    with group:
        outputs = await cancel_on_disconnect(request, group.collect_chunks())
        if not formatter.has_logprobs:
            choices = [formatter.format_choice(index, chunks) for index, chunks in enumerate(outputs)]
            return formatter.format_response(metadata, choices, group.usage)
        base_response = formatter.format_response(metadata, [], group.usage)
        return await state.response_builder.build_response(
            principal.tenant, base_response, outputs, formatter.format_choice
        )


async def start_generations(
    state: AppState, principal: Principal, body: GenerationRequest, inputs: RequestInputs
) -> GenerationGroup:
    """Tokenize the texts of a request and start their generations.

    Args:
        state: components of the server.
        principal: principal of the request.
        body: parameters of the generation.
        inputs: texts of the request.

    Raises:
        RequestError: the request is invalid, exceeds a limit, or cannot be served now.
        SoftPromptError: the model or the task does not support the request.
    """
    if (num_sequences := len(inputs.texts) * body.n) > (limit := state.config.max_choices):
        raise ApiError(400, f"{num_sequences} responses in one request: request at most {limit}.", param="n")
    principal.charge_sequences(num_sequences)
    resolved_model = await state.resolve_model(body.model, principal.tenant)
    constraint, grammar = body.response_constraint, None
    if constraint is not None:
        grammar = await state.grammar_compiler.compile_grammar(principal.tenant, constraint)
    params = to_sampling_params(body, state.model.shape.vocab_size, grammar)
    prompts, max_tokens = await _tokenize_texts(state, principal.tenant, body, inputs, resolved_model.loaded_prompt)
    version_usage = state.usage_tracker.get_usage(principal.tenant, resolved_model.name)
    prompt_tokens = sum(prompt.num_text_tokens for prompt in prompts)
    recorder = GenerationRecorder(state.metrics, version_usage, principal.tenant, prompt_tokens, num_sequences)
    return await GenerationGroup.start_generations(
        state.backend,
        prompts,
        inputs.names,
        [[derive_sampling_params(params, i, limit) for i in range(body.n)] for limit in max_tokens],
        resolved_model.name,
        principal.tenant,
        state.config.request_timeout,
        recorder,
    )


async def _tokenize_texts(
    state: AppState,
    tenant: str,
    body: GenerationRequest,
    inputs: RequestInputs,
    loaded_prompt: LoadedPrompt | None,
) -> tuple[list[TokenizedPrompt], list[int]]:
    """Tokenize the texts in batches; return them with the maximum tokens of each response.

    Raises:
        ContextLengthExceeded: a text is too long; later batches are not tokenized.
        InvalidRequest: the requested maximum exceeds the server's.
    """
    prompts, max_tokens = list[TokenizedPrompt](), list[int]()
    for indices in split_into_batches(inputs.texts):

        def render_batch(indices: range = indices) -> list[TokenizedPrompt]:
            return [inputs.render(loaded_prompt, index) for index in indices]

        batch = await state.prompt_renderer.run_in_thread(tenant, render_batch)
        max_tokens += resolve_max_tokens(
            batch,
            inputs.names[indices.start : indices.stop],
            body.max_output_tokens,
            state.max_model_len,
            state.config.max_completion_tokens,
        )
        prompts += batch
    return prompts, max_tokens


async def _stream_chunks(
    group: GenerationGroup, formatter: ResponseFormatter[ResponseT], metadata: ResponseMetadata, include_usage: bool
) -> AsyncIterator[BaseModel]:
    """Yield the chunks of a stream; the last one has the usage, if requested, and no choices."""
    no_usage = {"usage": None} if include_usage else {}
    for index in range(group.num_generations):
        for choice in formatter.iter_opening_choices(index):
            yield formatter.format_chunk(metadata, [choice], **no_usage)
    async for chunk in group.iter_chunks():
        for choice in formatter.iter_chunk_choices(chunk):
            yield formatter.format_chunk(metadata, [choice], **no_usage)
    if include_usage:
        yield formatter.format_chunk(metadata, [], usage=group.usage)
