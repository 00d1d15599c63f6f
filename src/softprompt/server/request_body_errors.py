"""Errors of request bodies before their fields are validated: media type and JSON syntax.

Only bodies with a JSON content type are parsed. A page of another site can make a browser send any body as `text/plain`
or as a form. JSON needs the server's permission (CORS), which this server never gives.
"""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from softprompt.server.api_errors import ApiError

JSON_CONTENT_TYPE = "Content-Type: application/json"
JSON_TYPE_NAMES = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
MAX_SHOWN_CHARACTERS = 100  # maximum characters of a client's header in a message


def find_body_error(request: Request, error: RequestValidationError) -> ApiError | None:
    """Return the error of a body that is not a JSON object; None if only its fields are invalid.

    Args:
        request: request with the headers.
        error: validation error with the body: bytes without a JSON content type, else the parsed value.
    """
    [first, *_] = error.errors()
    if first["type"] == "json_invalid":
        return _create_json_error(f"{first['ctx']['error']} at {_format_position(error.body, first['loc'][1])}.")
    if tuple(first["loc"]) != ("body",) or isinstance(error.body, dict):
        return None
    if isinstance(error.body, bytes):
        return _create_media_type_error(request.headers.get("content-type", ""))
    if error.body is None:
        message = f"The body is empty or null: send a JSON object, with {JSON_CONTENT_TYPE}."
        return ApiError(400, message, code="missing_required_parameter")
    type_name = JSON_TYPE_NAMES.get(type(error.body), "another type")
    return ApiError(400, f"The body must be a JSON object, not {type_name}.", code="invalid_value")


def find_parse_error(cause: BaseException | None) -> ApiError | None:
    """Return the error of a body that the JSON parser rejects for another reason than its syntax.

    Args:
        cause: exception of the parser, if any.
    """
    match cause:
        case UnicodeDecodeError():
            position = _format_position(cause.object[: cause.start].decode("latin-1"), cause.start)
            return _create_json_error(
                f"it is not UTF-8, because of the byte {cause.object[cause.start]:#04x} at {position}."
            )
        case RecursionError():
            return _create_json_error("it is nested too deeply.")
        case ValueError():
            return _create_json_error(f"{str(cause).partition(';')[0]}.")
    return None


def _create_media_type_error(content_type: str) -> ApiError:
    media_type = content_type.partition(";")[0].strip()[:MAX_SHOWN_CHARACTERS]
    problem = f"The body was sent as {media_type}" if media_type else "The body was sent without a Content-Type"
    message = f"{problem}: send {JSON_CONTENT_TYPE} (with curl: -H '{JSON_CONTENT_TYPE}')."
    return ApiError(415, message, code="unsupported_media_type")


def _create_json_error(problem: str) -> ApiError:
    return ApiError(400, f"We could not parse the JSON body of your request: {problem}", code="invalid_json")


def _format_position(text: Any, index: int) -> str:
    """Format the line and the column of a character, counted from 1."""
    before = str(text)[:index]
    return f"line {before.count(chr(10)) + 1}, column {index - before.rfind(chr(10))}"
