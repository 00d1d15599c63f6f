"""`/v1/completions`: text completions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from fastapi import APIRouter, Request, Response

from softprompt.server.api.generation_service import StartedGeneration, start_generation
from softprompt.server.app_state import AppState, ReadyStateDep, ResolvedModel
from softprompt.server.auth.authenticated_route import AuthenticatedRoute
from softprompt.server.auth.authenticator import RateLimitedPrincipal
from softprompt.server.generation.event_stream_response import EventStreamResponse
from softprompt.server.generation.generation_group import OutputChunk, cancel_on_disconnect
from softprompt.server.generation.input_names import attribute_errors_to, list_input_names
from softprompt.server.generation.logprobs_formatter import LogprobsFormatter
from softprompt.server.generation.prompt_renderer import TokenizedPrompt
from softprompt.server.schemas.completion_schemas import (
    CompletionChoice,
    CompletionRequest,
    CompletionResponse,
)

router = APIRouter(tags=["OpenAI"], route_class=AuthenticatedRoute)


@router.post("/v1/completions", response_model=CompletionResponse)
async def create_completion(
    body: CompletionRequest, principal: RateLimitedPrincipal, state: ReadyStateDep, request: Request
) -> Response | CompletionResponse:
    """Complete texts.

    The base model continues the text itself. A prompt reads the text as in its training: in its template's field, or as
    a user message in a chat.
    """
    texts: Sequence[str | Sequence[int]] = body.prompt
    names = list_input_names("prompt", len(texts))
    if body.fields is not None:
        names = ["fields"] * len(names)  # the fields fill the template instead of the texts

    def render(resolved_model: ResolvedModel, index: int) -> TokenizedPrompt:
        with attribute_errors_to(names[index]):
            return state.prompt_renderer.render_completion(resolved_model.loaded_prompt, texts[index], body.fields)

    generation = await start_generation(state, principal, body, "cmpl", names, texts, render)
    if body.stream:
        return EventStreamResponse(
            _stream_chunks(generation, body, state.logprobs_formatter), generation.generations.close
        )
    with generation.generations:
        generation_chunks = await cancel_on_disconnect(request, generation.generations.collect_chunks())
        return await _collect_response(generation, generation_chunks, body, state, principal.tenant)


async def _collect_response(
    generation: StartedGeneration,
    generation_chunks: Sequence[Sequence[OutputChunk]],
    body: CompletionRequest,
    state: AppState,
    tenant: str,
) -> Response | CompletionResponse:
    def build_choice(index: int, chunks: Sequence[OutputChunk]) -> CompletionChoice:
        """Build the choice of one response."""
        has_logprobs = body.logprobs is not None
        return CompletionChoice(
            index=index,
            text="".join(chunk.text for chunk in chunks),
            logprobs=state.logprobs_formatter.format_completion([chunk.token_output for chunk in chunks])
            if has_logprobs
            else None,
            finish_reason=chunks[-1].finish_reason,
        )

    response = CompletionResponse(
        id=generation.id,
        created=generation.created,
        model=generation.model_name,
        choices=[] if body.logprobs is not None else [build_choice(*each) for each in enumerate(generation_chunks)],
        usage=generation.usage,
        system_fingerprint=generation.system_fingerprint,
    )
    return (
        await state.response_builder.build_response(tenant, response, generation_chunks, build_choice)
        if body.logprobs is not None
        else response
    )


async def _stream_chunks(
    generation: StartedGeneration, body: CompletionRequest, logprobs_formatter: LogprobsFormatter
) -> AsyncIterator[CompletionResponse]:
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    offsets = [0] * generation.generations.num_generations

    def make_chunk(*choices: CompletionChoice) -> CompletionResponse:
        """Make a chunk of the stream; without choices the last one, with the usage."""
        chunk = CompletionResponse(
            id=generation.id,
            object="text_completion",
            created=generation.created,
            model=generation.model_name,
            choices=list(choices),
            system_fingerprint=generation.system_fingerprint,
        )
        return chunk.model_copy(update={"usage": generation.usage if not choices else None}) if with_usage else chunk

    async for chunk in generation.generations.iter_chunks():
        if not (chunk.text or chunk.finish_reason or body.logprobs is not None):
            continue
        logprobs = None
        if body.logprobs is not None:
            logprobs = logprobs_formatter.format_completion([chunk.token_output], offsets[chunk.index])
            offsets[chunk.index] += sum(map(len, logprobs.tokens))
        yield make_chunk(
            CompletionChoice(index=chunk.index, text=chunk.text, logprobs=logprobs, finish_reason=chunk.finish_reason)
        )
    if with_usage:
        yield make_chunk()
