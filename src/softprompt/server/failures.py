"""What goes wrong, in OpenAI's words: `{"error": {"message", "type", "param", "code"}}`, and with which status."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from softprompt.errors import (
    DamagedPrompt,
    DataError,
    NewerPrompt,
    NotASavedPrompt,
    SettingError,
    SoftPromptError,
    StoreError,
    TaskError,
    UnknownPrompt,
)
from softprompt.parameters import rename_parameters
from softprompt.server.metrics import Metrics
from softprompt.server.refusal import Refusal
from softprompt.server.request_body import body_refusal, unreadable_body_refusal

logger = logging.getLogger(__name__)

SERVER = "server_error"
#: The fields of a request, by the parameters that they become.
REQUEST_FIELDS = {"max_new_tokens": "max_tokens"}
#: What a client can ask, by the command that shows the same.
REQUESTS = {"`softprompt prompts list`": "GET /v1/prompts"}
NO_RETRY = {"x-should-retry": "false"}  # OpenAI's clients ask again after any 5xx, unless they are told


def response(refusal: Refusal) -> Response:
    """A refusal as an answer."""
    return Response(refusal.json(), refusal.status, refusal.headers, "application/json")


class Failed(Refusal):
    """Something that is our fault; what it was stands in the log alone."""

    def __init__(self) -> None:
        super().__init__(500, "The server failed to answer this request.", kind=SERVER)


class Busy(Refusal):
    """So many requests wait that one more would wait for too long."""

    def __init__(self, seconds: int = 1):
        message = "Too many requests are waiting: try again in a moment."
        super().__init__(
            429, message, kind="rate_limit_error", code="queue_full", headers={"retry-after": str(seconds)}
        )


class Draining(Refusal):
    """The server finishes what runs, and takes nothing new."""

    def __init__(self) -> None:
        headers = {"retry-after": "5", "connection": "close"}
        super().__init__(503, "The server is shutting down.", kind=SERVER, code="shutting_down", headers=headers)


class TooSlow(Refusal):
    """A request took longer than the operator lets one."""

    def __init__(self, seconds: float):
        message = f"The answer was not finished within {seconds:g} seconds: ask for fewer tokens."
        super().__init__(504, message, kind="timeout_error", code="timeout", headers=NO_RETRY)


def overflowing(name: str) -> Refusal:
    """The model's logits were not finite where `name` answered."""
    message = (
        f"The numbers of `{name}` overflow in the model on this text, so it has no answer: "
        "use another version of the prompt, or train it anew with a lower learning rate."
    )
    return Refusal(400, message, param="model", code="prompt_overflows")


def stuck() -> Refusal:
    """A response's grammar was too much work, or had no way to go on."""
    message = (
        "The form asked for is too much work, or the model has no token to go on with in it: ask for a simpler one."
    )
    return Refusal(400, message, code="grammar_failed")


def unknown_model(name: str) -> Refusal:
    """No such model or prompt; who else has one of that name is nobody's business."""
    message = f"The model `{name}` does not exist or you do not have access to it."
    return Refusal(404, message, param="model", code="model_not_found")


def in_request_words(error: SoftPromptError) -> str:
    """What an error says, in words of an HTTP client: fields of a request, and requests in the place of commands."""
    message = rename_parameters(str(error), REQUEST_FIELDS)
    for command, request in REQUESTS.items():
        message = message.replace(command, request)
    return message


def failure_of(error: SoftPromptError, name: str = "") -> Refusal:
    """What an error is to the one who asks for the model `name`."""
    match error:
        case UnknownPrompt():
            return unknown_model(name)
        case DamagedPrompt() | NewerPrompt() | NotASavedPrompt():
            logger.error("%s cannot be served: %s", name, error)
            message = f"The stored files of `{name}` cannot be used: add the prompt to the store again."
            return Refusal(503, message, kind=SERVER, param="model", code="prompt_damaged", headers=NO_RETRY)
        case SettingError() | TaskError() | DataError():
            return Refusal(400, in_request_words(error))
        case StoreError():
            logger.error("the store cannot be read: %s", error)
            message = "The prompts cannot be read now: try again later."
            return Refusal(503, message, kind=SERVER, code="store_failed")
    logger.error("a request failed: %s", error)
    return Failed()


def failure_of_validation(errors: Sequence[Mapping[str, Any]]) -> Refusal:
    """What is wrong with a request's fields, as OpenAI says it."""
    if unknown := [_place(each) for each in errors if each["type"] == "extra_forbidden"]:
        message = f"Unrecognized request argument{'s' * (len(unknown) > 1)} supplied: {', '.join(unknown)}"
        return Refusal(400, message)
    first = errors[0]
    place = _place(first)
    if first["type"] == "missing":
        return Refusal(400, f"Missing required parameter: '{place}'.", param=place, code="missing_required_parameter")
    said = str(first["msg"]).removeprefix("Value error, ")
    return Refusal(
        400,
        f"Invalid value for '{place}': {said}." if place else f"Invalid request: {said}.",
        param=place or None,
        code="invalid_value",
    )


def _place(error: Mapping[str, Any]) -> str:
    """Where in the request something is wrong: `messages.0.content`."""
    parts = [str(part) for part in error["loc"][1:]]
    return ".".join(part for part in parts if "[" not in part)  # no names of types


def answer_failures(app: FastAPI) -> None:
    """Have an app answer whatever goes wrong in OpenAI's shape, and count it in the metrics of its state."""

    def answered(request: Request, refusal: Refusal) -> Response:
        metrics: Metrics = request.app.state.metrics
        metrics.error(refusal.code or str(refusal.status))
        return response(refusal)

    @app.exception_handler(Refusal)
    async def _refused(request: Request, error: Refusal) -> Response:
        return answered(request, error)

    @app.exception_handler(SoftPromptError)
    async def _ours(request: Request, error: SoftPromptError) -> Response:
        return answered(request, failure_of(error))

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> Response:
        return answered(request, body_refusal(request, error) or failure_of_validation(error.errors()))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        refusal = unreadable_body_refusal(error.__cause__)
        return answered(request, refusal or Refusal(error.status_code, str(error.detail), headers=error.headers))

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, _: Exception) -> Response:
        return answered(request, Failed())
