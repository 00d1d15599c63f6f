"""What is wrong with the body of a request before any of its fields is looked at: its media type, or its JSON.

Only a body that is said to be JSON is read as JSON. A page of another site may have a browser send anything as
`text/plain` or as a form; as JSON only where the server allows it, and this one does not.
"""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from softprompt.server.refusal import Refusal

JSON_HEADER = "Content-Type: application/json"
JSON_TYPES = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
MAX_SHOWN = 100  # characters of a client's header


def body_refusal(request: Request, error: RequestValidationError) -> Refusal | None:
    """The refusal of a body that is no JSON object; None where fields of one are wrong.

    Args:
        request: has the headers.
        error: holds the body: bytes where they were not said to be JSON, else what they were read as.
    """
    [first, *_] = error.errors()
    if first["type"] == "json_invalid":
        return _invalid(f"{first['ctx']['error']} at {_position(error.body, first['loc'][1])}.")
    if tuple(first["loc"]) != ("body",) or isinstance(error.body, dict):
        return None
    if isinstance(error.body, bytes):
        return _media_type_refusal(request.headers.get("content-type", ""))
    if error.body is None:
        message = f"The body is empty or null: send a JSON object, with {JSON_HEADER}."
        return Refusal(400, message, code="missing_required_parameter")
    kind = JSON_TYPES.get(type(error.body), "something else")
    return Refusal(400, f"The body must be a JSON object and is {kind}.", code="invalid_value")


def unreadable_body_refusal(cause: BaseException | None) -> Refusal | None:
    """The refusal of a body that the JSON parser failed at in another way than by its syntax.

    Args:
        cause: what it raised; None where it raised nothing.
    """
    match cause:
        case UnicodeDecodeError():
            where = _position(cause.object[: cause.start].decode("latin-1"), cause.start)
            return _invalid(f"it is not UTF-8, because of the byte {cause.object[cause.start]:#04x} at {where}.")
        case RecursionError():
            return _invalid("it is nested too deeply.")
        case ValueError():
            return _invalid(f"{str(cause).partition(';')[0]}.")
    return None


def _media_type_refusal(content_type: str) -> Refusal:
    given = content_type.partition(";")[0].strip()[:MAX_SHOWN]
    problem = f"The body was sent as {given}" if given else "The body was sent with no Content-Type"
    message = f"{problem}: send {JSON_HEADER} (with curl: -H '{JSON_HEADER}')."
    return Refusal(415, message, code="unsupported_media_type")


def _invalid(problem: str) -> Refusal:
    return Refusal(400, f"We could not parse the JSON body of your request: {problem}", code="invalid_json")


def _position(text: Any, index: int) -> str:
    """Where a character of a text is, both counted from 1."""
    before = str(text)[:index]
    return f"line {before.count(chr(10)) + 1}, column {index - before.rfind(chr(10))}"
