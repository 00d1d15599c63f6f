"""Field types shared by the schemas of requests."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from softprompt.sampling.sampling_params import MAX_STOP_LENGTH, MAX_STOP_STRINGS

INT64_LIMIT = 2**63


class StrictModel(BaseModel):
    """A base model that rejects unknown fields, as OpenAI's API does."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _check_unicode(text: str) -> str:
    r"""Reject lone surrogates such as `\\ud83d`, which JSON can express but UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("the text has a lone surrogate, which is not valid Unicode") from error
    return text


def _reject_unsupported(value: Any) -> None:
    if value not in (None, [], {}, "", False):
        raise ValueError("not supported by this server: remove it")


UnicodeText = Annotated[str, AfterValidator(_check_unicode)]
Seed = Annotated[int, Field(ge=-INT64_LIMIT, lt=INT64_LIMIT)]
UnsupportedField = Annotated[Any, BeforeValidator(_reject_unsupported)]
"""A field of OpenAI's API that is rejected, because ignoring it would change the response."""
IgnoredField = Annotated[Any, Field(description="Accepted for compatibility and ignored.")]


def to_text_list(value: Any) -> Any:
    """Convert one or several texts to a list without empty texts."""
    texts = [value] if isinstance(value, str) else value
    return [text for text in texts if text != ""] if isinstance(texts, list) else texts


def _check_stop_length(text: str) -> str:
    if len(text) > MAX_STOP_LENGTH:
        raise ValueError(f"a stop string may have at most {MAX_STOP_LENGTH} characters, this one has {len(text)}")
    return text


def false_to_none(value: Any) -> Any:
    """Convert `false` in place of a number to None; Python would read it as 0."""
    return None if value is False else value


StopString = Annotated[UnicodeText, AfterValidator(_check_stop_length)]
StopStrings = Annotated[list[StopString], Field(max_length=MAX_STOP_STRINGS), BeforeValidator(to_text_list)]
