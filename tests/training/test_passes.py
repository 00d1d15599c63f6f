"""How rows are put into passes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from softprompt.training.passes import cut

lengths = st.lists(st.integers(1, 50), min_size=1, max_size=9)


def computed(passes: list[list[int]], of: list[int], cost: int) -> int:
    return sum(cost + len(each) * max(of[i] for i in each) for each in passes)


@given(of=lengths, most=st.integers(1, 9), tokens=st.integers(1, 200), cost=st.integers(0, 60))
def test_every_row_is_in_one_pass_that_has_room_for_it(of: list[int], most: int, tokens: int, cost: int) -> None:
    passes = cut(of, most, tokens, cost)
    assert sorted(i for each in passes for i in each) == list(range(len(of)))
    for each in passes:
        assert len(each) <= most
        assert len(each) == 1 or len(each) * max(of[i] for i in each) <= tokens


@given(of=lengths, cost=st.integers(0, 60), cuts=st.sets(st.integers(1, 8)))
def test_no_other_passes_of_sorted_rows_compute_less(of: list[int], cost: int, cuts: set[int]) -> None:
    order = sorted(range(len(of)), key=of.__getitem__)
    places = [0, *sorted(c for c in cuts if c < len(of)), len(of)]
    other = [order[a:b] for a, b in pairwise(places)]
    assert computed(cut(of, len(of), 10**9, cost), of, cost) <= computed(other, of, cost)


def test_where_a_pass_is_dear_there_are_as_few_as_can_be() -> None:
    assert len(cut([1, 50, 2, 49, 3, 48, 4], 3, 10**9, 10**9)) == 3
