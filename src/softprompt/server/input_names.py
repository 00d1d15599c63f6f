"""What the texts of a request are called in errors: `input`, or one of several `input.3`, counted from 0."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from softprompt.errors import DataError, SettingError, TaskError
from softprompt.server.refusal import Refusal
from softprompt.server.text_length import TextTooLong


def input_names(field: str, count: int) -> list[str]:
    """The names of a field's texts.

    Args:
        field: of the request.
        count: how many texts it holds.
    """
    return [field] if count == 1 else [f"{field}.{index}" for index in range(count)]


@contextmanager
def naming_input(name: str) -> Iterator[None]:
    """Have what is wrong with a text say which one it is.

    Raises:
        Refusal: with the text's name as `param`, unless another field is at fault or the server is.
    """
    try:
        yield
    except (DataError, SettingError, TaskError) as error:
        raise _named(Refusal(400, str(error)), name) from error
    except TextTooLong as refusal:
        raise refusal.with_name(name) from refusal
    except Refusal as refusal:
        if refusal.param == name.partition(".")[0]:
            raise _named(refusal, name) from refusal
        raise


def _named(refusal: Refusal, name: str) -> Refusal:
    is_said = "." not in name or refusal.message.startswith(name)
    message = refusal.message if is_said else f"{name}: {refusal.message}"
    return Refusal(refusal.status, message, kind=refusal.kind, code=refusal.code, param=name, headers=refusal.headers)
