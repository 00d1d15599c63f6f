"""The text of an answer as it follows a template."""

from __future__ import annotations

from softprompt.tasks.templates.template import Template


def join_answer(template: Template, answer: str) -> str:
    """Return an answer as it follows the template: after a space, unless white space or a wide script is there.

    Before a mask, the template itself determines whether there is a space.
    """
    if template.has_mask:
        return " " + answer if template.text_before_answer.endswith(" ") else answer
    spaced = not template.text[-1:].isspace() and not is_wide_character(answer[:1])
    return " " + answer if spaced else answer


def is_wide_character(character: str) -> bool:
    """Return whether a character belongs to a script without spaces between words (Chinese, Japanese)."""
    return any(
        start <= character <= end for start, end in (("\u3000", "\u9fff"), ("\uf900", "\ufaff"), ("\uff00", "\uffef"))
    )
