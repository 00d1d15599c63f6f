"""Lists and pairs that are typed in one text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.errors import SettingError
from softprompt.quoting import join_list, split_list, split_pairs


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("a,b", ["a", "b"]),
        (" a , b ", ["a", "b"]),
        ('"Food, drinks",Staff', ["Food, drinks", "Staff"]),
        ('Staff, "Food, drinks"', ["Staff", "Food, drinks"]),
        ('"a ""quoted"" one","b"', ['a "quoted" one', "b"]),
        ('5" pipe,6" pipe', ['5" pipe', '6" pipe']),
        ("Staff=service,x", ["Staff=service", "x"]),
        ('"Staff=service",x', ["Staff=service", "x"]),
        ("a,,b", ["a", "", "b"]),
        ("", [""]),
        ("😡,😍", ["😡", "😍"]),
    ],
)
def test_items(text: str, items: list[str]) -> None:
    assert split_list("--labels", text) == items


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("0=bad,1=good", {"0": "bad", "1": "good"}),
        ('"Food, drinks"=food,Staff=people', {"Food, drinks": "food", "Staff": "people"}),
        ('0="bad, awful",1=good', {"0": "bad, awful", "1": "good"}),
        ('"Staff=service"=staff', {"Staff=service": "staff"}),
        ('"Food, drinks"="food, drink"', {"Food, drinks": "food, drink"}),
        ('"0=bad, awful",1=good', {"0": "bad, awful", "1": "good"}),
        ("0=a=b", {"0": "a=b"}),
    ],
)
def test_pairs(text: str, pairs: dict[str, str]) -> None:
    assert split_pairs("--verbalizer", "label=word", text) == pairs


@pytest.mark.parametrize("text", ['"Food, drinks,Staff', 'Staff,"Food', '"Food" and drinks,Staff'])
def test_a_quote_that_is_not_closed(text: str) -> None:
    with pytest.raises(SettingError, match="--labels .*is not closed"):
        split_list("--labels", text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Food, drinks=food", "at 'Food'.* in quotes"),
        ("good", "write label=word"),
        ("good=", "write label=word"),
        ("=good", "write label=word"),
        ("a=b,a=c", "'a' stands there twice, and has one word"),
    ],
)
def test_what_are_no_pairs(text: str, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        split_pairs("--verbalizer", "label=word", text)


@given(st.lists(st.text('ab,=" ', min_size=1).map(str.strip).filter(bool), min_size=1))
def test_a_list_that_was_joined_is_split_into_the_same_items(items: list[str]) -> None:
    assert split_list("labels", join_list(items)) == items
