"""The parts of templates: literals, fields, markers."""

from __future__ import annotations

import pytest

from softprompt.errors import TaskError
from softprompt.tasks.templates.template_parser import (
    FieldSlot,
    LiteralText,
    MaskSlot,
    TemplatePart,
    VirtualTokenSlot,
    parse_template,
)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Review: {text}\nSo:", [LiteralText("Review: "), FieldSlot("text"), LiteralText("\nSo:")]),
        ("{a}{b}", [FieldSlot("a"), FieldSlot("b")]),
        ("{{{a}}}", [LiteralText("{"), FieldSlot("a"), LiteralText("}")]),
        (
            "[P1] [P2] {text}",
            [VirtualTokenSlot(0), LiteralText(" "), VirtualTokenSlot(1), LiteralText(" "), FieldSlot("text")],
        ),
        ("[P2-3]{text}[P1]", [VirtualTokenSlot(1), VirtualTokenSlot(2), FieldSlot("text"), VirtualTokenSlot(0)]),
        ("{text} is [MASK].", [FieldSlot("text"), LiteralText(" is "), MaskSlot(), LiteralText(".")]),
        ("{text}。总体评价是[MASK]的", [FieldSlot("text"), LiteralText("。总体评价是"), MaskSlot(), LiteralText("的")]),
        ("[P] [1] {text} [mask]", [LiteralText("[P] [1] "), FieldSlot("text"), LiteralText(" [mask]")]),
    ],
)
def test_template_is_parsed_into_parts(text: str, pieces: list[TemplatePart]) -> None:
    assert parse_template(text) == pieces


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[P1] so [MASK]", "has no field"),
        ("[P1] {text} [P1]", r"\[P1\] more than once"),
        ("[P1-3] {text} [P2]", r"\[P2\] more than once"),
        ("[P1] {text} [P3]", r"no \[P2\]"),
        ("[P2] {text}", r"no \[P1\]"),
        ("[P0] {text}", r"has \[P0\]"),
        ("[P1-999999999] {text}", "more than 100,000 markers"),
        ("{text} [MASK] [MASK]", "several"),
        ("{text", "brace"),
        ('{"a": {text}}', r"\{\{ and \}\}"),
        ('{"review": "{text}"', r"\{\{ and \}\}"),
        ("{text}}", r"\{\{ and \}\}"),
        ("caf\udce9 {text}", "the byte 0xe9 at character 4, which is not UTF-8"),
        ("{text!r}", "not a plain field name"),
        ("{0}", "not a plain field name"),
    ],
)
def test_invalid_template_is_rejected(text: str, match: str) -> None:
    with pytest.raises(TaskError, match=match):
        parse_template(text)
