"""From a request for responses to the responses: what chats and completions have in common."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from softprompt.server.asking import nth, response_lengths, sampling_of
from softprompt.server.caller import Caller
from softprompt.server.desk import Asked, divide_texts
from softprompt.server.parts import Chosen, Parts
from softprompt.server.protocol.chat import ReadTokens, Usage
from softprompt.server.protocol.sampling import Writing
from softprompt.server.refusal import Refusal
from softprompt.server.responses import Responses


@dataclass(frozen=True)
class Answer:
    """Responses that are being written, and what stands on all that is sent of them.

    Attributes:
        responses: them.
        id: of the answer.
        created: when, in seconds since 1970.
        model: the version that answers, or the base model.
        fingerprint: names the base model's weights.
    """

    responses: Responses
    id: str
    created: int
    model: str
    fingerprint: str

    @property
    def usage(self) -> Usage:
        """How many tokens it was so far."""
        read, written = self.responses.prompt_tokens, self.responses.completion_tokens
        return Usage(
            prompt_tokens=read,
            completion_tokens=written,
            total_tokens=read + written,
            prompt_tokens_details=ReadTokens(cached_tokens=self.responses.cached_tokens),
        )


async def begin(
    parts: Parts,
    caller: Caller,
    request: Writing,
    kind: str,
    names: Sequence[str],
    texts: Sequence[object],
    read: Callable[[Chosen, int], Asked],
) -> Answer:
    """Let a request be answered.

    Args:
        parts: the server's.
        caller: who asks.
        request: what.
        kind: how the answer's id begins.
        names: of the texts in the request.
        texts: themselves.
        read: gives one of the texts, by its index, as a row; it is called where the tokenizer is.

    Raises:
        Refusal: it cannot be answered, or not now.
        SoftPromptError: what is asked for cannot be.
    """
    if (wanted := len(texts) * request.n) > parts.settings.most_choices:
        most = parts.settings.most_choices
        raise Refusal(400, f"{wanted} responses in one request: ask for {most} at most.", param="n")
    caller.count_rows(wanted)
    chosen = await parts.choose(request.model, caller.tenant)
    form = request.form
    grammar = None if form is None else await parts.grammars.compile(caller.tenant, form)
    sampling = sampling_of(request, parts.model.shape.vocab_size, grammar)
    asked, lengths = list[Asked](), list[int]()
    for some in divide_texts(texts):
        rows = await parts.desk.do(caller.tenant, partial(_read, read, chosen, some))
        named = names[some.start : some.stop]
        lengths += response_lengths(rows, named, request.most_tokens, parts.length, parts.settings.longest_answer)
        asked += rows
    ways = [[nth(sampling, i, each) for i in range(request.n)] for each in lengths]
    use, deadline = parts.tally.of(caller.tenant, chosen.name), parts.settings.deadline
    responses = await Responses.begin(
        parts.backend, asked, names, ways, chosen.name, caller.tenant, deadline, parts.metrics, use
    )
    return Answer(responses, f"{kind}-{uuid.uuid4().hex}", int(time.time()), chosen.name, parts.fingerprint)


def _read(read: Callable[[Chosen, int], Asked], chosen: Chosen, indices: range) -> list[Asked]:
    return [read(chosen, index) for index in indices]
