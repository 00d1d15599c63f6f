"""`/v1/chat/completions`: chat completions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from fastapi import APIRouter, Request, Response

from softprompt.server.api.generation_service import StartedGeneration, start_generation
from softprompt.server.app_state import AppState, ReadyStateDep, ResolvedModel
from softprompt.server.auth.authenticated_route import AuthenticatedRoute
from softprompt.server.auth.authenticator import RateLimitedPrincipal
from softprompt.server.generation.event_stream_response import EventStreamResponse
from softprompt.server.generation.generation_group import OutputChunk, cancel_on_disconnect
from softprompt.server.generation.input_names import attribute_errors_to
from softprompt.server.generation.logprobs_formatter import LogprobsFormatter
from softprompt.server.generation.prompt_renderer import TokenizedPrompt
from softprompt.server.schemas.chat_schemas import (
    AssistantMessage,
    ChatCompletionChoice,
    ChatCompletionChunk,
    ChatCompletionChunkChoice,
    ChatCompletionRequest,
    ChatCompletionResponse,
)

router = APIRouter(tags=["OpenAI"], route_class=AuthenticatedRoute)


@router.post("/v1/chat/completions", response_model=ChatCompletionResponse)
async def create_chat_completion(
    body: ChatCompletionRequest, principal: RateLimitedPrincipal, state: ReadyStateDep, request: Request
) -> Response | ChatCompletionResponse:
    """Create the assistant's next message.

    A prompt with a generation task reads only the user's last message, in its own template. A prompt with a chat task,
    and the base model, read all messages in the model's chat template.
    """
    name = "messages" if body.fields is None else "fields"

    def render(resolved_model: ResolvedModel, _: int) -> TokenizedPrompt:
        with attribute_errors_to(name):
            return state.prompt_renderer.render_chat(
                resolved_model.loaded_prompt, [message.to_template_message() for message in body.messages], body.fields
            )

    generation = await start_generation(state, principal, body, "chatcmpl", [name], [body.messages], render)
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
    body: ChatCompletionRequest,
    state: AppState,
    tenant: str,
) -> Response | ChatCompletionResponse:
    def build_choice(index: int, chunks: Sequence[OutputChunk]) -> ChatCompletionChoice:
        """Build the choice of one response."""
        return ChatCompletionChoice(
            index=index,
            message=AssistantMessage(role="assistant", content="".join(chunk.text for chunk in chunks)),
            logprobs=state.logprobs_formatter.format_chat([chunk.token_output for chunk in chunks])
            if body.logprobs
            else None,
            finish_reason=chunks[-1].finish_reason or "stop",
        )

    response = ChatCompletionResponse(
        id=generation.id,
        created=generation.created,
        model=generation.model_name,
        choices=[] if body.logprobs else [build_choice(*each) for each in enumerate(generation_chunks)],
        usage=generation.usage,
        system_fingerprint=generation.system_fingerprint,
    )
    return (
        await state.response_builder.build_response(tenant, response, generation_chunks, build_choice)
        if body.logprobs
        else response
    )


async def _stream_chunks(
    generation: StartedGeneration, body: ChatCompletionRequest, logprobs_formatter: LogprobsFormatter
) -> AsyncIterator[ChatCompletionChunk]:
    with_usage = body.stream_options is not None and body.stream_options.include_usage

    def make_chunk(*choices: ChatCompletionChunkChoice) -> ChatCompletionChunk:
        """Make a chunk of the stream; without choices the last one, with the usage."""
        chunk = ChatCompletionChunk(
            id=generation.id,
            object="chat.completion.chunk",
            created=generation.created,
            model=generation.model_name,
            choices=list(choices),
            system_fingerprint=generation.system_fingerprint,
        )
        return chunk.model_copy(update={"usage": generation.usage if not choices else None}) if with_usage else chunk

    for index in range(generation.generations.num_generations):
        yield make_chunk(
            ChatCompletionChunkChoice(
                index=index, delta=AssistantMessage(role="assistant", content=""), finish_reason=None
            )
        )
    async for chunk in generation.generations.iter_chunks():
        if chunk.text or body.logprobs:
            logprobs = logprobs_formatter.format_chat([chunk.token_output]) if body.logprobs else None
            delta = AssistantMessage(content=chunk.text)
            yield make_chunk(
                ChatCompletionChunkChoice(index=chunk.index, delta=delta, logprobs=logprobs, finish_reason=None)
            )
        if chunk.finish_reason is not None:
            yield make_chunk(
                ChatCompletionChunkChoice(
                    index=chunk.index, delta=AssistantMessage(), finish_reason=chunk.finish_reason
                )
            )
    if with_usage:
        yield make_chunk()
