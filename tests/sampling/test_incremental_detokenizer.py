"""Tokens become text as they come, and a token costs the same however many came before it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.sampling.incremental_detokenizer import MAX_PENDING_TOKENS, IncrementalDetokenizer


def from_bytes(tokens: Sequence[int]) -> str:
    """A tokenizer with a token for each byte."""
    return bytes(tokens).decode("utf-8", errors="replace")


LEADS_AND_TAILS = st.sampled_from([*"a\ufffdé你😀".encode(), 0x80, 0xE4, 0xF0])


@given(st.lists(LEADS_AND_TAILS, max_size=80))
def test_decoded_pieces_of_any_bytes_join_to_the_whole_text(tokens: list[int]) -> None:
    detokenizer = IncrementalDetokenizer(from_bytes)
    pieces = [*map(detokenizer.push_token, tokens), detokenizer.flush_text()]
    assert "".join(pieces) == from_bytes(tokens)


@pytest.mark.parametrize("repeated", [[0x80], [0xE4], [0xF0, 0x9F], [0xEF, 0xBF, 0xBD]])
def test_bytes_that_form_no_character_are_emitted_without_delay(repeated: list[int]) -> None:
    """They are not decoded again with each token."""
    decoded: list[int] = []

    def decode(tokens: list[int]) -> str:
        decoded.append(len(tokens))
        return from_bytes(tokens)

    detokenizer = IncrementalDetokenizer(decode)
    tokens = repeated * 300
    told = "".join(map(detokenizer.push_token, tokens))
    assert max(decoded) <= 4 * MAX_PENDING_TOKENS
    assert len(told) >= len(from_bytes(tokens)) - 2 * MAX_PENDING_TOKENS
    assert told + detokenizer.flush_text() == from_bytes(tokens)
