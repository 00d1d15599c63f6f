"""`/v1/chat/completions`: the assistant's next message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from fastapi import APIRouter, Request, Response

from softprompt.server.caller import Admitted
from softprompt.server.desk import Asked
from softprompt.server.events import EventStream
from softprompt.server.input_names import naming_input
from softprompt.server.keyed_route import KeyedRoute
from softprompt.server.logprobs import Words
from softprompt.server.parts import Chosen, Open, Parts
from softprompt.server.protocol.chat import (
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatRequest,
    ChatResponse,
    Said,
)
from softprompt.server.responses import Piece, unless_gone
from softprompt.server.writing import Answer, begin

router = APIRouter(tags=["OpenAI"], route_class=KeyedRoute)


@router.post("/v1/chat/completions", response_model=ChatResponse)
async def chat(body: ChatRequest, caller: Admitted, parts: Open, request: Request) -> Response | ChatResponse:
    """Answer a chat.

    A prompt whose task is a generation reads the user's last message alone, in its own template; one whose task is a
    chat, and the base model, read all messages in the model's chat template.
    """
    name = "messages" if body.fields is None else "fields"

    def read(chosen: Chosen, _: int) -> Asked:
        with naming_input(name):
            return parts.desk.chat(chosen.shelved, [message.plain() for message in body.messages], body.fields)

    answer = await begin(parts, caller, body, "chatcmpl", [name], [body.messages], read)
    if body.stream:
        return EventStream(_chunks(answer, body, parts.words), answer.responses.close)
    with answer.responses:
        responses = await unless_gone(request, answer.responses.whole())
        return await _whole(answer, responses, body, parts, caller.tenant)


async def _whole(
    answer: Answer, responses: Sequence[Sequence[Piece]], body: ChatRequest, parts: Parts, tenant: str
) -> Response | ChatResponse:
    def build(index: int, pieces: Sequence[Piece]) -> ChatChoice:
        """A response as the answer has it."""
        return ChatChoice(
            index=index,
            message=Said(role="assistant", content="".join(piece.text for piece in pieces)),
            logprobs=parts.words.in_chat([piece.written for piece in pieces]) if body.logprobs else None,
            finish_reason=pieces[-1].reason or "stop",
        )

    made = ChatResponse(
        id=answer.id,
        created=answer.created,
        model=answer.model,
        choices=[] if body.logprobs else [build(*each) for each in enumerate(responses)],
        usage=answer.usage,
        system_fingerprint=answer.fingerprint,
    )
    return await parts.builder.build_response(tenant, made, responses, build) if body.logprobs else made


async def _chunks(answer: Answer, body: ChatRequest, words: Words) -> AsyncIterator[ChatChunk]:
    with_usage = body.stream_options is not None and body.stream_options.include_usage

    def chunk(*choices: ChatChunkChoice) -> ChatChunk:
        """A part of the stream; without choices the last, which tells the usage."""
        made = ChatChunk(
            id=answer.id,
            object="chat.completion.chunk",
            created=answer.created,
            model=answer.model,
            choices=list(choices),
            system_fingerprint=answer.fingerprint,
        )
        return made.model_copy(update={"usage": answer.usage if not choices else None}) if with_usage else made

    for index in range(answer.responses.count):
        yield chunk(ChatChunkChoice(index=index, delta=Said(role="assistant", content=""), finish_reason=None))
    async for piece in answer.responses.pieces():
        if piece.text or body.logprobs:
            logprobs = words.in_chat([piece.written]) if body.logprobs else None
            delta = Said(content=piece.text)
            yield chunk(ChatChunkChoice(index=piece.index, delta=delta, logprobs=logprobs, finish_reason=None))
        if piece.reason is not None:
            yield chunk(ChatChunkChoice(index=piece.index, delta=Said(), finish_reason=piece.reason))
    if with_usage:
        yield chunk()
