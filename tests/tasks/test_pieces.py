"""Templates in pieces: literals, fields, markers."""

from __future__ import annotations

import pytest

from softprompt.errors import TaskError
from softprompt.tasks.pieces import Blank, Field, Literal, Piece, Virtual, pieces_of


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Review: {text}\nSo:", [Literal("Review: "), Field("text"), Literal("\nSo:")]),
        ("{a}{b}", [Field("a"), Field("b")]),
        ("{{{a}}}", [Literal("{"), Field("a"), Literal("}")]),
        ("[P1] [P2] {text}", [Virtual(0), Literal(" "), Virtual(1), Literal(" "), Field("text")]),
        ("[P2-3]{text}[P1]", [Virtual(1), Virtual(2), Field("text"), Virtual(0)]),
        ("{text} is [MASK].", [Field("text"), Literal(" is "), Blank(), Literal(".")]),
        ("{text}。总体评价是[MASK]的", [Field("text"), Literal("。总体评价是"), Blank(), Literal("的")]),
        ("[P] [1] {text} [mask]", [Literal("[P] [1] "), Field("text"), Literal(" [mask]")]),
    ],
)
def test_pieces(text: str, pieces: list[Piece]) -> None:
    assert pieces_of(text) == pieces


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[P1] so [MASK]", "names no field"),
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
        ("{text!r}", "no plain field name"),
        ("{0}", "no plain field name"),
    ],
)
def test_what_cannot_be_read(text: str, match: str) -> None:
    with pytest.raises(TaskError, match=match):
        pieces_of(text)
