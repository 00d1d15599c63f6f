"""Pieces of text join to the whole (law 9)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from softprompt.engine.text import Writer


def from_bytes(tokens: list[int]) -> str:
    """A tokenizer with a token for each byte."""
    return bytes(tokens).decode("utf-8", errors="replace")


def written(text: str, *stop: str) -> tuple[list[str], bool]:
    writer = Writer(from_bytes, stop)
    pieces = []
    for token in text.encode():
        pieces.append(writer.add(token))
        if writer.is_stopped:
            return pieces, True
    return [*pieces, writer.rest()], False


@given(text=st.text(max_size=30))
def test_pieces_join_to_the_whole(text: str) -> None:
    pieces, stopped = written(text)
    assert "".join(pieces) == text
    assert not stopped
    assert not any("\ufffd" in piece for piece in pieces if "\ufffd" not in text)


@given(
    text=st.text("ab\n", max_size=20), stop=st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1, max_size=3)
)
def test_it_ends_before_the_first_stop_text(text: str, stop: list[str]) -> None:
    pieces, stopped = written(text, *stop)
    ends = [at + len(each) for each in stop if (at := text.find(each)) >= 0]
    assert stopped == bool(ends)
    if not ends:
        assert "".join(pieces) == text
        return
    seen = text[: min(ends)]  # the text when the first of them was complete
    begins = [at for each in stop if (at := seen.find(each)) >= 0]
    assert "".join(pieces) == seen[: min(begins)]


def test_what_may_become_a_stop_text_waits() -> None:
    writer = Writer(from_bytes, ["\n\nQ:"])
    assert [writer.add(byte) for byte in b"a\n\nb"] == ["a", "", "", "\n\nb"]


def test_bytes_that_never_become_a_character_are_told_at_the_end() -> None:
    writer = Writer(from_bytes)
    assert writer.add(0xE4) == ""
    assert writer.rest() == "\ufffd"


@given(text=st.text("ab\n", max_size=20), stop=st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3))
def test_a_writer_that_is_built_anew_goes_on(text: str, stop: list[str]) -> None:
    tokens = list(text.encode())
    for told in range(len(tokens) + 1):
        whole = Writer(from_bytes, stop)
        pieces = [whole.add(token) for token in tokens[:told]]
        if whole.is_stopped:
            break
        again = Writer(from_bytes, stop, written=tokens[:told])
        assert [again.add(token) for token in tokens[told:]] == [whole.add(token) for token in tokens[told:]]
        assert again.rest() == whole.rest()
        assert len(pieces) == told
