"""Names of a request's texts in error messages: `input`, or `input.3` for one of several, counted from 0."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from softprompt.errors import DataError, SettingError, TaskError
from softprompt.server.generation.text_length import TextTooLong
from softprompt.server.request_errors import InvalidRequest, RequestError


def list_input_names(field: str, count: int) -> list[str]:
    """List the names of a field's texts.

    Args:
        field: field of the request.
        count: number of texts in the field.
    """
    return [field] if count == 1 else [f"{field}.{index}" for index in range(count)]


@contextmanager
def attribute_errors_to(input_name: str) -> Iterator[None]:
    """Add the name of a text to errors that the text causes.

    Raises:
        RequestError: with the text's name as `param`, unless another field or the server is the cause.
    """
    field = input_name.partition(".")[0]
    try:
        yield
    except (DataError, SettingError, TaskError) as error:
        invalid_request = InvalidRequest(str(error), field)
        invalid_request.attribute_to(input_name)
        raise invalid_request from error
    except RequestError as error:
        if error.param == field or isinstance(error, TextTooLong):
            error.attribute_to(input_name)
        raise
