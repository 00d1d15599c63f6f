"""Who is next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from softprompt.server.turns import Turns


def filled(most: int, come: str) -> tuple[Turns[str], str]:
    """A queue to which tenants came in this order, and those of them that found room."""
    turns: Turns[str] = Turns(most)
    return turns, "".join(tenant for tenant in come if turns.add(tenant, tenant))


def test_tenants_take_turns_however_many_one_brings() -> None:
    turns, _ = filled(100, "aaaaabbc")
    assert "".join(turns.take() for _ in range(8)) == "abcabaaa"
    assert not turns


def test_a_tenant_s_own_keep_their_order() -> None:
    turns: Turns[int] = Turns(100)
    for number in range(4):
        turns.add("a", number)
    assert [turns.take() for _ in range(4)] == [0, 1, 2, 3]


def test_who_floods_leaves_room_for_others() -> None:
    assert filled(8, "a" * 20 + "b" * 20 + "c")[1] == "aaaa" + "bb" + "c"
    assert filled(1, "aab")[1] == "a"


@given(most=st.integers(0, 12), come=st.text("abc", max_size=30))
def test_nobody_is_lost_and_the_room_is_enough(most: int, come: str) -> None:
    turns, found_room = filled(most, come)
    assert len(turns) == len(found_room) <= most
    assert sorted(turns) == sorted(found_room)
    assert sorted(turns.take() for _ in range(len(turns))) == sorted(found_room)
