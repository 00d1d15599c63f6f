"""Lists and pairs in one text, separated by commas; what holds a comma stands in quotes, as in CSV."""

from __future__ import annotations

import re
from collections.abc import Sequence

from softprompt.errors import SettingError

_QUOTED = r'"(?:[^"]|"")*"'
#: `name="a, b"` or `"a, b"`; `"a=b"=c`; or what holds no comma.
_PART = re.compile(rf'\s*(?:(?:{_QUOTED}|[^,="]*)\s*=\s*)?{_QUOTED}\s*(?=,|\Z)|\s*{_QUOTED}\s*=[^,]*|[^,]*')
_PAIR = re.compile(rf"\s*({_QUOTED})\s*=(.*)", re.DOTALL)


def parts_of(option: str, text: str) -> list[str]:
    """The parts between the commas, with the quotes that they have.

    Args:
        option: what is read, for the message.
        text: as it was typed.

    Raises:
        SettingError: a part begins with a quote that nothing closes.
    """
    parts, at = [], 0
    while at <= len(text):
        found = _PART.match(text, at)
        assert found is not None  # the last alternative takes anything
        parts.append(found[0])
        at = found.end() + 1
    if wrong := [part for part in parts if _is_open(part)]:
        raise SettingError(
            f"{option} {text}: the quote at {wrong[0].strip()} is not closed, or something follows it: write "
            '"Food, drinks",Staff, and "" for a quote inside'
        )
    return parts


def _is_open(part: str) -> bool:
    return part.lstrip().startswith('"') and not (_is_quoted(part) or _PAIR.fullmatch(part))


def _is_quoted(part: str) -> bool:
    return re.fullmatch(_QUOTED, part.strip()) is not None


def unquoted(part: str) -> str:
    """A part without the quotes around it, if it has some; else as it is."""
    return part.strip()[1:-1].replace('""', '"') if _is_quoted(part) else part


def split_list(option: str, text: str) -> list[str]:
    """The items of a list, without white space around them.

    Raises:
        SettingError: a quote is not closed.
    """
    return [unquoted(part).strip() for part in parts_of(option, text)]


def join_list(items: Sequence[str]) -> str:
    """Items as one text, which `split_list` reads back; what holds a comma, an equals sign or a quote is quoted."""
    return ", ".join(_quoted(item) if set(item) & set(',="') else item for item in items)


def _quoted(item: str) -> str:
    escaped = item.replace('"', '""')
    return f'"{escaped}"'


def split_pairs(option: str, form: str, text: str) -> dict[str, str]:
    """The names and values of pairs of a form such as `label=word`.

    Raises:
        SettingError: it is written otherwise, or names one twice.
    """
    parts = parts_of(option, text)
    pairs = [_pair(part) for part in parts]
    if wrong := [part for part, pair in zip(parts, pairs, strict=True) if not all(pair)]:
        raise SettingError(
            f"{option} {text}: write {form}, separated by commas (at {wrong[0].strip()!r}); what holds a comma or an "
            'equals sign stands in quotes: "Food, drinks"=food'
        )
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise SettingError(f"{option} {text}: {twice[0]!r} stands there twice, and has one {form.partition('=')[2]}")
    return dict(pairs)


def _pair(part: str) -> tuple[str, str]:
    if found := _PAIR.fullmatch(part):
        return unquoted(found[1]), unquoted(found[2])
    name, _, value = unquoted(part).partition("=")
    return unquoted(name.strip()), unquoted(value)
