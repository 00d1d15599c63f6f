"""Which name has the least number now."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from softprompt.least_first import LeastFirst


@given(changes=st.lists(st.tuples(st.sampled_from("abcd"), st.none() | st.integers(0, 5)), max_size=60))
def test_it_is_the_least_of_all_whatever_changed(changes: list[tuple[str, int | None]]) -> None:
    ordered = LeastFirst()
    keys: dict[str, int] = {}
    for name, key in changes:
        if key is None:
            ordered.discard(name)
            keys.pop(name, None)
        else:
            ordered.set_key(name, (float(key),))
            keys[name] = key
        least = min(keys.items(), key=lambda item: item[1], default=None)
        assert ordered.least() == (None if least is None else (least[0], (least[1],)))
        assert list(ordered) == list(keys)


def test_among_equals_the_first_that_came_is_first() -> None:
    ordered = LeastFirst()
    for name in ("b", "a", "c"):
        ordered.set_key(name, (1.0,))
    ordered.set_key("b", (2.0,))
    ordered.set_key("b", (1.0,))
    assert ordered.least() == ("b", (1,))


def test_old_keys_are_not_kept_for_ever() -> None:
    ordered = LeastFirst()
    for key in range(10_000):
        ordered.set_key("a", (float(key),))
    assert len(ordered._heap) <= 66
