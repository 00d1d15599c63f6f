"""Parses option texts into settings."""

from __future__ import annotations

import codecs
import re
from typing import Any

from softprompt.comma_lists import split_list, split_pairs

#: Help of the options whose text has a form of its own.
TEXT_FORM_HELP = {
    "map": "Field names: softprompt's name=data's name, such as text=review,label=stars.",
    "labels": "Labels, comma-separated. Quote a label with a comma: '\"Food, drinks\",Staff'.",
    "verbalizer": "Word or phrase for each label, if different from the label: 0=bad,1=good.",
}


def parse_options(options: dict[str, Any]) -> dict[str, Any]:
    """Convert option texts to settings: split lists, and resolve escapes in the template."""
    parsed = dict(options)
    if "template" in options:
        parsed["template"] = unescape_template(options["template"])
    if "labels" in options:
        parsed["labels"] = split_list("--labels", options["labels"])
    if "verbalizer" in options:
        parsed["verbalizer"] = split_pairs("--verbalizer", "label=word", options["verbalizer"])
    if "map" in options:
        parsed["map"] = parse_field_map(options["map"])
    return parsed


def parse_field_map(text: str | None) -> dict[str, str]:
    """Parse the value of `--map`: softprompt's field names to the data's field names.

    Raises:
        SettingError: the text is not a list of `name=name` pairs.
    """
    return {} if text is None else split_pairs("--map", "name=data_name", text)


def unescape_template(text: str) -> str:
    r"""Resolve `\n`, `\t` and `\\` in a template from the shell."""
    return re.sub(r"\\[nt\\]", lambda match: codecs.decode(match[0], "unicode_escape"), text)
