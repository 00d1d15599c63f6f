"""Chunks of text join to the whole (law 9), and end before stop strings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from softprompt.sampling.stop_aware_detokenizer import StopAwareDetokenizer


def decode_bytes(tokens: list[int]) -> str:
    """Decode tokens that are single bytes."""
    return bytes(tokens).decode("utf-8", errors="replace")


def detokenize(text: str, *stop: str) -> tuple[list[str], bool]:
    detokenizer = StopAwareDetokenizer(decode_bytes, stop)
    chunks = []
    for token in text.encode():
        chunks.append(detokenizer.push_token(token))
        if detokenizer.is_stopped:
            return chunks, True
    return [*chunks, detokenizer.flush_text()], False


@given(text=st.text(max_size=30))
def test_chunks_join_to_the_whole_text(text: str) -> None:
    chunks, stopped = detokenize(text)
    assert "".join(chunks) == text
    assert not stopped
    assert not any("\ufffd" in chunk for chunk in chunks if "\ufffd" not in text)


@given(
    text=st.text("ab\n", max_size=20), stop=st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1, max_size=3)
)
def test_text_ends_before_the_first_stop_string(text: str, stop: list[str]) -> None:
    chunks, stopped = detokenize(text, *stop)
    ends = [start + len(each) for each in stop if (start := text.find(each)) >= 0]
    assert stopped == bool(ends)
    if not ends:
        assert "".join(chunks) == text
        return
    seen = text[: min(ends)]  # the text when the first stop string was complete
    begins = [start for each in stop if (start := seen.find(each)) >= 0]
    assert "".join(chunks) == seen[: min(begins)]


def test_a_possible_stop_string_is_held_back() -> None:
    detokenizer = StopAwareDetokenizer(decode_bytes, ["\n\nQ:"])
    assert [detokenizer.push_token(byte) for byte in b"a\n\nb"] == ["a", "", "", "\n\nb"]


def test_incomplete_characters_are_emitted_at_the_end() -> None:
    detokenizer = StopAwareDetokenizer(decode_bytes)
    assert detokenizer.push_token(0xE4) == ""
    assert detokenizer.flush_text() == "\ufffd"


@given(text=st.text("ab\n", max_size=20), stop=st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3))
def test_a_rebuilt_detokenizer_continues_as_the_original(text: str, stop: list[str]) -> None:
    tokens = list(text.encode())
    for num_emitted in range(len(tokens) + 1):
        original = StopAwareDetokenizer(decode_bytes, stop)
        chunks = [original.push_token(token) for token in tokens[:num_emitted]]
        if original.is_stopped:
            break
        rebuilt = StopAwareDetokenizer(decode_bytes, stop, emitted_token_ids=tokens[:num_emitted])
        assert [rebuilt.push_token(token) for token in tokens[num_emitted:]] == [
            original.push_token(token) for token in tokens[num_emitted:]
        ]
        assert rebuilt.flush_text() == original.flush_text()
        assert len(chunks) == num_emitted
