"""What an API answers, or that it does not, as errors that say what to do. No message holds the key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError
from pydantic import BaseModel, Field, ValidationError

from softprompt.comparison.ways.api.address import KEY, Address
from softprompt.errors import ApiFailed, first_line

LATER = (408, 409)


@dataclass(frozen=True)
class Answer:
    """What an API answered to one request.

    Attributes:
        text: empty where it said nothing.
        prompt_tokens: that it read; None where it does not say.
        completion_tokens: that it wrote; None where it does not say.
        retries: how often the request was sent again.
    """

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    retries: int

    @classmethod
    def read(cls, body: str, retries: int, address: Address) -> Answer:
        """The answer in the body of a response.

        Raises:
            ApiFailed: there is none in it.
        """
        try:
            found = _Completion.model_validate_json(body)
        except ValidationError:
            raise ApiFailed(
                f"{address.url} answered with something that is no chat completion{address.quoted(body)}: "
                "check `base_url`, which often ends in /v1"
            ) from None
        usage = found.usage or _Usage()
        text = address.without_key(found.choices[0].message.content or "")
        return cls(text, usage.prompt_tokens, usage.completion_tokens, retries)


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Completion(BaseModel):
    """What is read of a chat completion; the client's own type lets anything through."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


@contextmanager
def api_errors(address: Address, model: str) -> Iterator[None]:
    """Turn what the openai package raises into errors that say what to do.

    Raises:
        ApiFailed: whatever it was.
    """
    try:
        yield
    except OpenAIError as error:
        # No cause: a traceback would show the server's own words, and some servers repeat the key in them.
        raise _failed(error, address, model) from None


def _failed(error: OpenAIError, address: Address, model: str) -> ApiFailed:
    where = address.url
    match error:
        case APIStatusError():
            return _refused(error, address, model)
        case APITimeoutError():
            return ApiFailed(f"{where} kept every try of a request waiting too long: try again later, or another model")
        case APIConnectionError():
            why = address.quoted(first_line(error.__cause__ or error))
            return ApiFailed(f"{where} cannot be reached, or broke off{why}: check `base_url` and the network")
    return ApiFailed(f"{where} could not be asked{address.quoted(first_line(error))}: check `base_url` and {KEY}")


def _refused(error: APIStatusError, address: Address, model: str) -> ApiFailed:
    where, status, words = address.url, error.status_code, address.quoted(error.message.partition(" - ")[2])
    if status in (401, 403) and address.key is None:
        return ApiFailed(f"{where} wants a key ({status}): set {KEY}")
    if status in (401, 403):
        return ApiFailed(f"{where} refused the key, or {model} to it ({status}): correct {KEY}, or ask another model")
    if status == 404:
        return ApiFailed(f"{where} has no model {model}, or is no such API{words}: check `api_model` and `base_url`")
    if status == 429:
        return ApiFailed(f"{where} answers 429 to every try{words}: wait, or have the account's limit raised")
    if status in LATER or status >= 500:
        return ApiFailed(f"{where} answers {status} to every try{words}: try again later")
    return ApiFailed(f"{where} refused a request for {model} with {status}{words}: mend that, or ask another model")
