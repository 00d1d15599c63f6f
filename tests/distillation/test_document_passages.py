"""Passages of a document."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.distillation.document_passages import split_passages

parts = st.sampled_from(["One two three.", "Four five!", "six", "\n", "\n\n", " ", "---", "一二三。四五", "| a | b |"])


def count_words(text: str) -> int:
    return len(text.split())


@pytest.mark.parametrize(
    ("document", "max_tokens", "passages"),
    [
        ("a b\n\nc d", 9, ["a b\n\nc d"]),
        ("a b\n\nc d", 3, ["a b", "c d"]),
        ("a b. c d! e f? g", 4, ["a b. c d!", "e f? g"]),
        ("a b c d e f", 2, ["a b c d e f"]),
        ("\n\n \n\na\n\n\n", 9, ["a"]),
        ("", 9, []),
    ],
)
def test_paragraphs_are_joined_and_long_ones_split_into_sentences(
    document: str, max_tokens: int, passages: list[str]
) -> None:
    assert split_passages(document, max_tokens, count_words) == passages


@given(document=st.lists(parts).map("".join), max_tokens=st.integers(1, 9))
def test_passages_have_all_words_in_order_and_none_is_blank(document: str, max_tokens: int) -> None:
    passages = split_passages(document, max_tokens, count_words)
    assert "".join("".join(passages).split()) == "".join(document.split())
    assert all(passage.strip() for passage in passages)
