"""Placements: where virtual tokens are in a sequence."""

from __future__ import annotations

from enum import StrEnum


class Placement(StrEnum):
    """A position of the virtual tokens in a sequence."""

    BEFORE = "before"  # before everything, BOS included; the only placement that peft can express
    AFTER_BOS = "after-bos"  # BOS, then the virtual tokens, then the text
    AFTER_TEXT = "after-text"  # after the text, before the answer
    IN_TEMPLATE = "in-template"  # at the template's markers [P1], [P2], …
