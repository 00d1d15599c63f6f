"""Conversion of exceptions to responses: `{"error": {"message", "type", "param", "code"}}`, as OpenAI's API.

The code below the HTTP layer raises exceptions without a status. Only `ERROR_RESPONSES` assigns one to them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from softprompt import errors
from softprompt.message_parameters import rename_parameters
from softprompt.server import request_errors
from softprompt.server.api_errors import ApiError
from softprompt.server.request_body_errors import find_body_error, find_parse_error
from softprompt.server.server_metrics import ServerMetrics

logger = logging.getLogger(__name__)

SERVER_ERROR_TYPE = "server_error"
RATE_LIMIT_ERROR_TYPE = "rate_limit_error"
#: Fields of a request by the library parameters that they set.
REQUEST_FIELD_NAMES = {"max_new_tokens": "max_tokens"}
#: Endpoints by the CLI commands that show the same.
COMMAND_ENDPOINTS = {"`softprompt prompts list`": "GET /v1/prompts"}
NO_RETRY_HEADERS = {"x-should-retry": "false"}  # OpenAI's clients retry after every 5xx without this header


def to_client_message(message: str) -> str:
    """Rewrite a message for HTTP clients: request fields and endpoints instead of parameters and commands."""
    message = rename_parameters(message, REQUEST_FIELD_NAMES)
    for command, request in COMMAND_ENDPOINTS.items():
        message = message.replace(command, request)
    return message


def _shorten_in_use_message(message: str) -> str:
    """Keep only the remedy that HTTP clients have; the other one is a CLI command."""
    return message.partition(":")[0] + ": activate another version first"


@dataclass(frozen=True)
class ErrorResponse:
    """The response to an exception.

    Attributes:
        status: HTTP status code.
        code: OpenAI's `code`, which programs branch on.
        error_type: OpenAI's `type`.
        message: rewrites the exception's message for the client, or replaces a message that may name files or hosts.
        headers: additional headers.
    """

    status: int
    code: str | None = None
    error_type: str = "invalid_request_error"
    message: str | Callable[[str], str] = to_client_message
    headers: Mapping[str, str] = field(default_factory=dict)

    def create_error(self, error: Exception) -> ApiError:
        """Create the error that the client receives."""
        headers = dict(self.headers)
        if (retry_after_s := getattr(error, "retry_after_s", None)) is not None:
            headers["retry-after"] = str(retry_after_s)
        return ApiError(
            self.status,
            self.message if isinstance(self.message, str) else self.message(str(error)),
            error_type=self.error_type,
            code=self.code,
            param=getattr(error, "param", None),
            headers=headers,
        )


INTERNAL_ERROR = ErrorResponse(500, None, SERVER_ERROR_TYPE, "The server failed to process this request.")
PROMPT_CORRUPT = ErrorResponse(
    503,
    "prompt_corrupt",
    SERVER_ERROR_TYPE,
    "The stored files of this prompt cannot be used: register the prompt again.",
    NO_RETRY_HEADERS,
)
REGISTRY_UNAVAILABLE = ErrorResponse(
    503,
    "registry_unavailable",
    SERVER_ERROR_TYPE,
    "The prompts cannot be read or changed at the moment: try again later.",
)

#: Responses by exception; an exception without an entry has that of its closest base class.
ERROR_RESPONSES: Mapping[type[Exception], ErrorResponse] = {
    # errors of requests
    request_errors.InvalidRequest: ErrorResponse(400),
    request_errors.ContextLengthExceeded: ErrorResponse(400, "context_length_exceeded"),
    request_errors.TooManySequences: ErrorResponse(400, "too_many_sequences"),
    request_errors.IncompatiblePrompt: ErrorResponse(400, "base_model_mismatch"),
    request_errors.WrongTask: ErrorResponse(400, "wrong_task"),
    request_errors.NoChatTemplate: ErrorResponse(400, "no_chat_template"),
    request_errors.PromptNotCompiled: ErrorResponse(400, "prompt_not_compiled"),
    request_errors.HeadNotSupported: ErrorResponse(400, "head_not_supported"),
    request_errors.NonFiniteResponse: ErrorResponse(400, "non_finite_logits"),
    request_errors.GrammarFailed: ErrorResponse(400, "grammar_failed"),
    request_errors.InvalidUpload: ErrorResponse(400, "invalid_prompt"),
    request_errors.UploadTooLarge: ErrorResponse(413, "too_large"),
    request_errors.InvalidApiKey: ErrorResponse(401, "invalid_api_key", headers={"WWW-Authenticate": "Bearer"}),
    request_errors.MissingScope: ErrorResponse(403, "insufficient_permissions"),
    request_errors.UnknownModel: ErrorResponse(404, "model_not_found"),
    request_errors.RateLimitExceeded: ErrorResponse(429, "rate_limit_exceeded", RATE_LIMIT_ERROR_TYPE),
    request_errors.QueueFull: ErrorResponse(429, "queue_full", RATE_LIMIT_ERROR_TYPE),
    request_errors.RequestTimeout: ErrorResponse(504, "timeout", "timeout_error", headers=NO_RETRY_HEADERS),
    request_errors.ServerShuttingDown: ErrorResponse(
        503, "shutting_down", SERVER_ERROR_TYPE, headers={"connection": "close"}
    ),
    request_errors.UnusablePrompt: ErrorResponse(503, "prompt_corrupt", SERVER_ERROR_TYPE, headers=NO_RETRY_HEADERS),
    request_errors.InferenceFailed: ErrorResponse(500, None, SERVER_ERROR_TYPE),
    request_errors.NoHealthyReplica: ErrorResponse(503, "no_healthy_replica", SERVER_ERROR_TYPE),
    request_errors.AllReplicasFailed: ErrorResponse(502, "replica_failed", SERVER_ERROR_TYPE),
    request_errors.StreamInterrupted: ErrorResponse(502, "stream_interrupted", SERVER_ERROR_TYPE),
    request_errors.PromptUnavailable: ErrorResponse(
        503, "prompt_unavailable", SERVER_ERROR_TYPE, headers=NO_RETRY_HEADERS
    ),
    # errors of the library; the messages of the others may name files or hosts
    errors.SettingError: ErrorResponse(400, "invalid_value"),
    errors.DataError: ErrorResponse(400),
    errors.TaskError: ErrorResponse(400),
    errors.PromptNotFound: ErrorResponse(404, "prompt_not_found"),
    errors.PromptInUse: ErrorResponse(409, "prompt_in_use", message=_shorten_in_use_message),
    errors.NoPreviousVersion: ErrorResponse(409, "no_previous_version"),
    errors.StorageLimitExceeded: ErrorResponse(403, "storage_limit_exceeded"),
    errors.DiskFull: ErrorResponse(507, "no_space", SERVER_ERROR_TYPE, "the server has no disk space left for prompts"),
    errors.SavedPromptError: PROMPT_CORRUPT,
    errors.StoreError: REGISTRY_UNAVAILABLE,
    errors.SoftPromptError: INTERNAL_ERROR,
}


def to_api_error(error: Exception) -> ApiError:
    """Convert an exception to the error that the client receives. Logs an error whose message is replaced."""
    if isinstance(error, ApiError):
        return error
    kind = next((kind for kind in type(error).__mro__ if kind in ERROR_RESPONSES), None)
    if kind is None:  # logged with its traceback, by uvicorn
        return INTERNAL_ERROR.create_error(error)
    response = ERROR_RESPONSES[kind]
    if kind is errors.SettingError and isinstance(error.__cause__, OSError):
        response = REGISTRY_UNAVAILABLE  # the cause is a setting of the operator's, not one of the request
    if isinstance(response.message, str):
        logger.error("a request failed: %s", error)
    return response.create_error(error)


def validation_to_api_error(problems: Sequence[Mapping[str, Any]]) -> ApiError:
    """Convert validation errors of a request's fields to an error in OpenAI's wording."""
    if unknown := [_format_field_path(each) for each in problems if each["type"] == "extra_forbidden"]:
        message = f"Unrecognized request argument{'s' * (len(unknown) > 1)} supplied: {', '.join(unknown)}"
        return ApiError(400, message)
    first = problems[0]
    field_path = _format_field_path(first)
    if first["type"] == "missing":
        message = f"Missing required parameter: '{field_path}'."
        return ApiError(400, message, param=field_path, code="missing_required_parameter")
    problem = str(first["msg"]).removeprefix("Value error, ")
    return ApiError(
        400,
        f"Invalid value for '{field_path}': {problem}." if field_path else f"Invalid request: {problem}.",
        param=field_path or None,
        code="invalid_value",
    )


def _format_field_path(error: Mapping[str, Any]) -> str:
    """Format the path of an invalid field: `messages.0.content`."""
    parts = [str(part) for part in error["loc"][1:]]
    return ".".join(part for part in parts if "[" not in part)  # without the names of types


def register_exception_handlers(app: FastAPI, metrics: ServerMetrics) -> None:
    """Register handlers that return every error in OpenAI's format and count the error in the metrics."""

    def respond_with_error(error: ApiError) -> Response:
        metrics.count_error(error.code or str(error.status))
        return Response(error.to_json(), error.status, error.headers, "application/json")

    @app.exception_handler(ApiError)
    @app.exception_handler(request_errors.RequestError)
    @app.exception_handler(errors.SoftPromptError)
    @app.exception_handler(Exception)
    async def _handle_error(_: Request, error: Exception) -> Response:
        return respond_with_error(to_api_error(error))

    @app.exception_handler(RequestValidationError)
    async def _handle_validation_error(request: Request, error: RequestValidationError) -> Response:
        return respond_with_error(find_body_error(request, error) or validation_to_api_error(error.errors()))

    @app.exception_handler(HTTPException)
    async def _handle_http_exception(_: Request, error: HTTPException) -> Response:
        parse_error = find_parse_error(error.__cause__)
        return respond_with_error(parse_error or ApiError(error.status_code, str(error.detail), headers=error.headers))
