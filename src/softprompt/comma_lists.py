"""Comma-separated lists and pairs on the command line; items that contain a comma are quoted, as in CSV."""

from __future__ import annotations

import re
from collections.abc import Sequence

from softprompt.errors import SettingError

_QUOTED_PATTERN = r'"(?:[^"]|"")*"'
#: `name="a, b"` or `"a, b"`; `"a=b"=c`; or text without a comma.
_PART_PATTERN = re.compile(
    rf'\s*(?:(?:{_QUOTED_PATTERN}|[^,="]*)\s*=\s*)?{_QUOTED_PATTERN}\s*(?=,|\Z)|\s*{_QUOTED_PATTERN}\s*=[^,]*|[^,]*'
)
_PAIR_PATTERN = re.compile(rf"\s*({_QUOTED_PATTERN})\s*=(.*)", re.DOTALL)


def split_parts(option: str, text: str) -> list[str]:
    """Split a text at commas; the parts keep their quotes.

    Args:
        option: name of the option, for the error message.
        text: text as it was typed.

    Raises:
        SettingError: a quote is not closed.
    """
    parts, position = [], 0
    while position <= len(text):
        match = _PART_PATTERN.match(text, position)
        assert match is not None  # the last alternative matches any text
        parts.append(match[0])
        position = match.end() + 1
    if unclosed := [part for part in parts if _has_unclosed_quote(part)]:
        raise SettingError(
            f"{option} {text}: the quote at {unclosed[0].strip()} is not closed, or is followed by text: write "
            '"Food, drinks",Staff and double a quote inside quotes'
        )
    return parts


def _has_unclosed_quote(part: str) -> bool:
    return part.lstrip().startswith('"') and not (_is_quoted(part) or _PAIR_PATTERN.fullmatch(part))


def _is_quoted(part: str) -> bool:
    return re.fullmatch(_QUOTED_PATTERN, part.strip()) is not None


def strip_quotes(part: str) -> str:
    """Return a part without surrounding quotes."""
    return part.strip()[1:-1].replace('""', '"') if _is_quoted(part) else part


def split_list(option: str, text: str) -> list[str]:
    """Split a comma-separated list into items without surrounding white space.

    Raises:
        SettingError: a quote is not closed.
    """
    return [strip_quotes(part).strip() for part in split_parts(option, text)]


def join_list(items: Sequence[str]) -> str:
    """Join items into a text that `split_list` can split; items with a comma, equals sign or quote are quoted."""
    return ", ".join(_quote_item(item) if set(item) & set(',="') else item for item in items)


def _quote_item(item: str) -> str:
    escaped = item.replace('"', '""')
    return f'"{escaped}"'


def split_pairs(option: str, pair_format: str, text: str) -> dict[str, str]:
    """Split comma-separated pairs such as `label=word` into a dictionary.

    Args:
        option: name of the option, for the error message.
        pair_format: format of a pair, for the error message: `label=word`.
        text: text as it was typed.

    Raises:
        SettingError: a pair is malformed, or a name occurs twice.
    """
    parts = split_parts(option, text)
    pairs = [_parse_pair(part) for part in parts]
    if malformed := [part for part, pair in zip(parts, pairs, strict=True) if not all(pair)]:
        raise SettingError(
            f"{option} {text}: expected {pair_format}, separated by commas, found "
            f'{malformed[0].strip()!r}: quote names with a comma or an equals sign, as in "Food, drinks"=food'
        )
    names = [name for name, _ in pairs]
    if duplicates := [name for name in names if names.count(name) > 1]:
        raise SettingError(
            f"{option} {text}: {duplicates[0]!r} occurs twice: give it one {pair_format.partition('=')[2]}"
        )
    return dict(pairs)


def _parse_pair(part: str) -> tuple[str, str]:
    if match := _PAIR_PATTERN.fullmatch(part):
        return strip_quotes(match[1]), strip_quotes(match[2])
    name, _, value = strip_quotes(part).partition("=")
    return strip_quotes(name.strip()), strip_quotes(value)
