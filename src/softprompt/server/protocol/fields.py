"""Types that fields of requests share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from softprompt.engine.request import LONGEST_STOP, MOST_STOPS

LONG = 2**63


class Body(BaseModel):
    """A part of a request. What is not in it is refused, as OpenAI does."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _whole(text: str) -> str:
    r"""A text that every part of the server can read: JSON can write half a character, a lone `\\ud83d`."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a character, so it is no Unicode text") from error
    return text


def _unsupported(value: Any) -> None:
    if value not in (None, [], {}, "", False):
        raise ValueError("this server does not support it, and would answer as if it had not been said: leave it out")


Text = Annotated[str, AfterValidator(_whole)]
Seed = Annotated[int, Field(ge=-LONG, lt=LONG)]
Unsupported = Annotated[Any, BeforeValidator(_unsupported)]
"""What OpenAI knows and this server does not, where leaving it out of account would change the answer."""
Ignored = Annotated[Any, Field(description="Accepted, and of no account.")]


def texts_in(value: Any) -> Any:
    """One text or several as a list, without those that are empty."""
    several = [value] if isinstance(value, str) else value
    return [each for each in several if each != ""] if isinstance(several, list) else several


def _short_stop(text: str) -> str:
    if len(text) > LONGEST_STOP:
        raise ValueError(f"it has {len(text)} characters: give {LONGEST_STOP} at most")
    return text


def false_as_none(value: Any) -> Any:
    """Where a number is asked for, `false` is none: to Python it would be 0."""
    return None if value is False else value


StopText = Annotated[Text, AfterValidator(_short_stop)]
Stop = Annotated[list[StopText], Field(max_length=MOST_STOPS), BeforeValidator(texts_in)]
