"""Parses option texts into settings."""

from __future__ import annotations

import codecs
import re
from typing import Any

from softprompt.cli.output import parse_field_map
from softprompt.comma_lists import split_list, split_pairs


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


def unescape_template(text: str) -> str:
    r"""Resolve `\n`, `\t` and `\\` in a template from the shell."""
    return re.sub(r"\\[nt\\]", lambda match: codecs.decode(match[0], "unicode_escape"), text)
