"""Names of a request's texts in error messages: `input`, or `input.3` for one of several, counted from 0."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from softprompt.errors import DataError, SettingError, TaskError
from softprompt.server.api_errors import ApiError
from softprompt.server.generation.text_length import TextTooLong


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
        ApiError: with the text's name as `param`, unless another field or the server is the cause.
    """
    try:
        yield
    except (DataError, SettingError, TaskError) as error:
        raise _with_input_name(ApiError(400, str(error)), input_name) from error
    except TextTooLong as error:
        raise error.with_input_name(input_name) from error
    except ApiError as error:
        if error.param == input_name.partition(".")[0]:
            raise _with_input_name(error, input_name) from error
        raise


def _with_input_name(error: ApiError, input_name: str) -> ApiError:
    is_named = "." not in input_name or error.message.startswith(input_name)
    message = error.message if is_named else f"{input_name}: {error.message}"
    return ApiError(
        error.status, message, error_type=error.type, code=error.code, param=input_name, headers=error.headers
    )
