"""Replies of an API. No message contains the key."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, Field, ValidationError

from softprompt.errors import ModelApiError
from softprompt.model_api.api_endpoint import ApiEndpoint


@dataclass(frozen=True)
class ApiReply:
    """The reply of an API to one request.

    The field names are keys of the reply cache, so renaming one discards cached replies.

    Attributes:
        text: text of the reply; empty without content.
        prompt_tokens: tokens of the request; None if the API does not report them.
        completion_tokens: tokens of the reply; None if the API does not report them.
        retries: number of repeated requests.
    """

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    retries: int

    @classmethod
    def from_body(cls, body: str, retries: int, endpoint: ApiEndpoint) -> ApiReply:
        """Parse the body of a response.

        Raises:
            ModelApiError: the body is not a chat completion.
        """
        try:
            completion = _ChatCompletion.model_validate_json(body)
        except ValidationError:
            raise ModelApiError(
                f"{endpoint.url} returned something that is not a chat completion{endpoint.quote_message(body)}: "
                "check `base_url`, which often ends in /v1"
            ) from None
        usage = completion.usage or _ReplyUsage()
        text = endpoint.redact_key(completion.choices[0].message.content or "")
        return cls(text, usage.prompt_tokens, usage.completion_tokens, retries)


class _ReplyMessage(BaseModel):
    content: str | None = None


class _ReplyChoice(BaseModel):
    message: _ReplyMessage


class _ReplyUsage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _ChatCompletion(BaseModel):
    """The validated part of a chat completion; the client's own type does not validate."""

    choices: list[_ReplyChoice] = Field(min_length=1)
    usage: _ReplyUsage | None = None
