"""Conversion of exceptions to error responses: `{"error": {"message", "type", "param", "code"}}`, as OpenAI's API."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from softprompt.errors import (
    CorruptPrompt,
    DataError,
    NotASavedPrompt,
    PromptNotFound,
    SettingError,
    SoftPromptError,
    StoreError,
    TaskError,
    UnsupportedPromptFormat,
)
from softprompt.message_parameters import rename_parameters
from softprompt.server.api_errors import ApiError
from softprompt.server.request_body_errors import find_body_error, find_parse_error
from softprompt.server.server_metrics import ServerMetrics

logger = logging.getLogger(__name__)

SERVER_ERROR_TYPE = "server_error"
#: Fields of a request by the library parameters that they set.
REQUEST_FIELD_NAMES = {"max_new_tokens": "max_tokens"}
#: Endpoints by the CLI commands that show the same.
COMMAND_ENDPOINTS = {"`softprompt prompts list`": "GET /v1/prompts"}
NO_RETRY_HEADERS = {"x-should-retry": "false"}  # OpenAI's clients retry after every 5xx without this header


def create_error_response(error: ApiError) -> Response:
    """Create the response of an error."""
    return Response(error.to_json(), error.status, error.headers, "application/json")


class InternalServerError(ApiError):
    """An unexpected failure of the server. Its cause is only in the log."""

    def __init__(self) -> None:
        super().__init__(500, "The server failed to process this request.", error_type=SERVER_ERROR_TYPE)


class QueueFull(ApiError):
    """The queue of waiting requests is full."""

    def __init__(self, retry_after_s: int = 1):
        message = "Too many requests are waiting: try again shortly."
        super().__init__(
            429, message, error_type="rate_limit_error", code="queue_full", headers={"retry-after": str(retry_after_s)}
        )


class ServerShuttingDown(ApiError):
    """The server is shutting down: running requests finish, new ones are rejected."""

    def __init__(self) -> None:
        headers = {"retry-after": "5", "connection": "close"}
        super().__init__(
            503, "The server is shutting down.", error_type=SERVER_ERROR_TYPE, code="shutting_down", headers=headers
        )


class RequestTimeout(ApiError):
    """A request took longer than the server's request timeout."""

    def __init__(self, timeout_s: float):
        message = f"The response was not finished within {timeout_s:g} seconds: request fewer tokens."
        super().__init__(504, message, error_type="timeout_error", code="timeout", headers=NO_RETRY_HEADERS)


def create_overflow_error(model_name: str) -> ApiError:
    """Create the error of a prompt behind which the model's logits are not finite."""
    message = (
        f"`{model_name}` causes non-finite logits in the model on this text, so there is no response: "
        "use another version of the prompt, or train the prompt again with a lower learning rate."
    )
    return ApiError(400, message, param="model", code="non_finite_logits")


def create_grammar_error() -> ApiError:
    """Create the error of a response whose grammar was too expensive or allowed no further token."""
    message = "The requested response format is too expensive, or allows no further token: request a simpler format."
    return ApiError(400, message, code="grammar_failed")


def create_model_not_found_error(model_name: str) -> ApiError:
    """Create the error of an unknown model; another tenant's prompt is reported in the same way."""
    message = f"The model `{model_name}` does not exist or you do not have access to it."
    return ApiError(404, message, param="model", code="model_not_found")


def to_client_message(error: SoftPromptError) -> str:
    """Rewrite an error's message for HTTP clients: request fields and endpoints instead of parameters and commands."""
    message = rename_parameters(str(error), REQUEST_FIELD_NAMES)
    for command, request in COMMAND_ENDPOINTS.items():
        message = message.replace(command, request)
    return message


def to_api_error(error: SoftPromptError, model_name: str = "") -> ApiError:
    """Convert an exception to the error that a client of the model receives."""
    match error:
        case PromptNotFound():
            return create_model_not_found_error(model_name)
        case CorruptPrompt() | UnsupportedPromptFormat() | NotASavedPrompt():
            logger.error("%s cannot be served: %s", model_name, error)
            message = f"The stored files of `{model_name}` cannot be used: register the prompt again."
            return ApiError(
                503,
                message,
                error_type=SERVER_ERROR_TYPE,
                param="model",
                code="prompt_corrupt",
                headers=NO_RETRY_HEADERS,
            )
        case SettingError() | TaskError() | DataError():
            return ApiError(400, to_client_message(error))
        case StoreError():
            logger.error("the registry cannot be read: %s", error)
            message = "The prompts cannot be read now: try again later."
            return ApiError(503, message, error_type=SERVER_ERROR_TYPE, code="registry_unavailable")
    logger.error("a request failed: %s", error)
    return InternalServerError()


def validation_to_api_error(errors: Sequence[Mapping[str, Any]]) -> ApiError:
    """Convert validation errors of a request's fields to an error in OpenAI's wording."""
    if unknown := [_format_field_path(each) for each in errors if each["type"] == "extra_forbidden"]:
        message = f"Unrecognized request argument{'s' * (len(unknown) > 1)} supplied: {', '.join(unknown)}"
        return ApiError(400, message)
    first = errors[0]
    field = _format_field_path(first)
    if first["type"] == "missing":
        return ApiError(400, f"Missing required parameter: '{field}'.", param=field, code="missing_required_parameter")
    problem = str(first["msg"]).removeprefix("Value error, ")
    return ApiError(
        400,
        f"Invalid value for '{field}': {problem}." if field else f"Invalid request: {problem}.",
        param=field or None,
        code="invalid_value",
    )


def _format_field_path(error: Mapping[str, Any]) -> str:
    """Format the path of an invalid field: `messages.0.content`."""
    parts = [str(part) for part in error["loc"][1:]]
    return ".".join(part for part in parts if "[" not in part)  # without the names of types


def register_exception_handlers(app: FastAPI) -> None:
    """Register handlers that return every error in OpenAI's format and count the error in the metrics."""

    def respond_with_error(request: Request, error: ApiError) -> Response:
        metrics: ServerMetrics = request.app.state.metrics
        metrics.count_error(error.code or str(error.status))
        return create_error_response(error)

    @app.exception_handler(ApiError)
    async def _handle_api_error(request: Request, error: ApiError) -> Response:
        return respond_with_error(request, error)

    @app.exception_handler(SoftPromptError)
    async def _handle_softprompt_error(request: Request, error: SoftPromptError) -> Response:
        return respond_with_error(request, to_api_error(error))

    @app.exception_handler(RequestValidationError)
    async def _handle_validation_error(request: Request, error: RequestValidationError) -> Response:
        return respond_with_error(request, find_body_error(request, error) or validation_to_api_error(error.errors()))

    @app.exception_handler(HTTPException)
    async def _handle_http_exception(request: Request, error: HTTPException) -> Response:
        parse_error = find_parse_error(error.__cause__)
        return respond_with_error(
            request, parse_error or ApiError(error.status_code, str(error.detail), headers=error.headers)
        )

    @app.exception_handler(Exception)
    async def _handle_unexpected_error(request: Request, _: Exception) -> Response:
        return respond_with_error(request, InternalServerError())
