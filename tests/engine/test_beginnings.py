"""What is kept of texts, and who finds it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from softprompt.engine.beginnings import BLOCK, Beginnings

OURS = ("acme", "hash")


def kept(*texts: tuple[tuple[str, str], list[int]], room: int = 100) -> Beginnings[tuple[int, ...]]:
    """Beginnings whose states are the tokens themselves."""
    beginnings: Beginnings[tuple[int, ...]] = Beginnings(room)
    for whose, ids in texts:
        beginnings.keep(whose, ids, lambda start, stop, ids=ids: tuple(ids[start:stop]))  # type: ignore[misc]
    return beginnings


texts = st.lists(st.integers(0, 1), min_size=1, max_size=5 * BLOCK)


@given(known=st.lists(texts, max_size=4), asked=texts, room=st.integers(0, 12))
def test_what_is_found_is_the_texts_own_beginning(known: list[list[int]], asked: list[int], room: int) -> None:
    beginnings = kept(*((OURS, ids) for ids in known), room=room)
    found = beginnings.find(OURS, asked)
    joined = [token for state in found for token in state]
    assert joined == asked[: len(joined)]
    assert len(joined) < len(asked)  # the last token is the model's to read: what follows it is asked for
    assert len(beginnings) <= room


@given(ids=texts)
def test_a_text_finds_all_its_whole_blocks(ids: list[int]) -> None:
    found = kept((OURS, ids)).find(OURS, [*ids, 7])
    assert len(found) == len(ids) // BLOCK


def test_another_tenant_or_prompt_finds_nothing() -> None:
    ids = list(range(3 * BLOCK))
    beginnings = kept((OURS, ids))
    for whose in (("other", "hash"), ("acme", "other"), ("acmeh", "ash"), ("", "")):
        assert beginnings.find(whose, ids) == []
    assert (beginnings.hits, beginnings.misses) == (0, 8)


def test_what_was_not_asked_for_goes_first_and_from_its_end() -> None:
    old, new = list(range(2 * BLOCK)), list(range(100, 100 + 3 * BLOCK))
    beginnings = kept((OURS, old), (OURS, new), room=4)
    assert len(beginnings.find(OURS, [*old, 7])) == 1
    assert len(beginnings.find(OURS, [*new, 7])) == 3


def test_a_text_longer_than_the_room_keeps_its_beginning() -> None:
    ids = list(range(5 * BLOCK))
    assert len(kept((OURS, ids), room=2).find(OURS, ids)) == 2
