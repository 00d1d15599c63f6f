"""What is typed, as settings."""

from __future__ import annotations

import codecs
import re
from typing import Any

from softprompt.cli.output import names_of
from softprompt.quoting import split_list, split_pairs


def parsed(given: dict[str, Any]) -> dict[str, Any]:
    """Option texts as settings: lists split, escapes in the template resolved."""
    parsed = dict(given)
    if "template" in given:
        parsed["template"] = unescaped(given["template"])
    if "labels" in given:
        parsed["labels"] = split_list("--labels", given["labels"])
    if "verbalizer" in given:
        parsed["verbalizer"] = split_pairs("--verbalizer", "label=word", given["verbalizer"])
    if "map" in given:
        parsed["map"] = names_of(given["map"])
    return parsed


def unescaped(text: str) -> str:
    r"""A template as the shell passes it, with `\n`, `\t` and `\\` resolved."""
    return re.sub(r"\\[nt\\]", lambda match: codecs.decode(match[0], "unicode_escape"), text)
