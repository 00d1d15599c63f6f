"""What the page at `/` is told beside what `/v1` tells everybody."""

from __future__ import annotations

from softprompt.server.protocol.fields import Body
from softprompt.server.tally import Use


class Used(Body):
    """How much a version was used since the server began.

    Attributes:
        requests: that were answered.
        read: tokens of text.
        written: tokens of responses.
        first_token: seconds from a request to its first token, on average; none before there was one.
    """

    requests: int
    read: int
    written: int
    first_token: float | None

    @classmethod
    def of(cls, use: Use) -> Used:
        """The counts, as they are now."""
        mean = use.waited / use.begun if use.begun else None
        return cls(requests=use.requests, read=use.read, written=use.written, first_token=mean)


class PageState(Body):
    """The base model, and what of the caller's was used.

    Attributes:
        base: its name.
        chats: it has a chat template.
        used: by version, `reviews@3`; the base model under its own name.
    """

    base: str
    chats: bool
    used: dict[str, Used]


class PromptDetails(Body):
    """What a version's manifest says that those who use it want to know.

    Attributes:
        model: the version, `reviews@3`.
        base: the model it was made for.
        fits: this server runs that model.
        task: the kind of its task.
        fields: of its template; none of a chat.
        method: what made it.
        num_virtual_tokens: P.
        validation: the figures that it was accepted with.
    """

    model: str
    base: str
    fits: bool
    task: str
    fields: tuple[str, ...]
    method: str
    num_virtual_tokens: int
    validation: dict[str, float]
