"""`/v1/completions`: what follows a text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from fastapi import APIRouter, Request, Response

from softprompt.server.caller import Admitted
from softprompt.server.desk import Asked
from softprompt.server.events import EventStream
from softprompt.server.input_names import input_names, naming_input
from softprompt.server.keyed_route import KeyedRoute
from softprompt.server.logprobs import Words
from softprompt.server.parts import Chosen, Open, Parts
from softprompt.server.protocol.completions import (
    CompletionChoice,
    CompletionRequest,
    CompletionResponse,
)
from softprompt.server.responses import Piece, unless_gone
from softprompt.server.writing import Answer, begin

router = APIRouter(tags=["OpenAI"], route_class=KeyedRoute)


@router.post("/v1/completions", response_model=CompletionResponse)
async def completions(
    body: CompletionRequest, caller: Admitted, parts: Open, request: Request
) -> Response | CompletionResponse:
    """Go on with texts.

    To the base model a text is what it is; a prompt reads it as it was trained to: in its template's field, or as what
    the user says in a chat.
    """
    texts: Sequence[str | Sequence[int]] = body.prompt
    names = input_names("prompt", len(texts))
    if body.fields is not None:
        names = ["fields"] * len(names)  # which fill the template in the texts' stead

    def read(chosen: Chosen, index: int) -> Asked:
        with naming_input(names[index]):
            return parts.desk.text(chosen.shelved, texts[index], body.fields)

    answer = await begin(parts, caller, body, "cmpl", names, texts, read)
    if body.stream:
        return EventStream(_chunks(answer, body, parts.words), answer.responses.close)
    with answer.responses:
        responses = await unless_gone(request, answer.responses.whole())
        return await _whole(answer, responses, body, parts, caller.tenant)


async def _whole(
    answer: Answer, responses: Sequence[Sequence[Piece]], body: CompletionRequest, parts: Parts, tenant: str
) -> Response | CompletionResponse:
    def build(index: int, pieces: Sequence[Piece]) -> CompletionChoice:
        """A response as the answer has it."""
        has_logprobs = body.logprobs is not None
        return CompletionChoice(
            index=index,
            text="".join(piece.text for piece in pieces),
            logprobs=parts.words.in_completion([piece.written for piece in pieces]) if has_logprobs else None,
            finish_reason=pieces[-1].reason,
        )

    made = CompletionResponse(
        id=answer.id,
        created=answer.created,
        model=answer.model,
        choices=[] if body.logprobs is not None else [build(*each) for each in enumerate(responses)],
        usage=answer.usage,
        system_fingerprint=answer.fingerprint,
    )
    return await parts.builder.build_response(tenant, made, responses, build) if body.logprobs is not None else made


async def _chunks(answer: Answer, body: CompletionRequest, words: Words) -> AsyncIterator[CompletionResponse]:
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    offsets = [0] * answer.responses.count

    def chunk(*choices: CompletionChoice) -> CompletionResponse:
        """A part of the stream; without choices the last, which tells the usage."""
        made = CompletionResponse(
            id=answer.id,
            object="text_completion",
            created=answer.created,
            model=answer.model,
            choices=list(choices),
            system_fingerprint=answer.fingerprint,
        )
        return made.model_copy(update={"usage": answer.usage if not choices else None}) if with_usage else made

    async for piece in answer.responses.pieces():
        if not (piece.text or piece.reason or body.logprobs is not None):
            continue
        logprobs = None
        if body.logprobs is not None:
            logprobs = words.in_completion([piece.written], offsets[piece.index])
            offsets[piece.index] += sum(map(len, logprobs.tokens))
        yield chunk(CompletionChoice(index=piece.index, text=piece.text, logprobs=logprobs, finish_reason=piece.reason))
    if with_usage:
        yield chunk()
