"""Comma-separated lists and pairs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.comma_lists import join_list, split_list, split_pairs
from softprompt.errors import SettingError


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
def test_lists_are_split_at_unquoted_commas(text: str, items: list[str]) -> None:
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
def test_pairs_are_split_at_unquoted_commas_and_equals_signs(text: str, pairs: dict[str, str]) -> None:
    assert split_pairs("--verbalizer", "label=word", text) == pairs


@pytest.mark.parametrize("text", ['"Food, drinks,Staff', 'Staff,"Food', '"Food" and drinks,Staff'])
def test_an_unclosed_quote_is_rejected(text: str) -> None:
    with pytest.raises(SettingError, match="--labels .*is not closed"):
        split_list("--labels", text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Food, drinks=food", "found 'Food': quote names"),
        ("good", "expected label=word"),
        ("good=", "expected label=word"),
        ("=good", "expected label=word"),
        ("a=b,a=c", "'a' occurs twice: give it one word"),
    ],
)
def test_malformed_pairs_are_rejected(text: str, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        split_pairs("--verbalizer", "label=word", text)


@given(st.lists(st.text('ab,=" ', min_size=1).map(str.strip).filter(bool), min_size=1))
def test_splitting_a_joined_list_returns_its_items(items: list[str]) -> None:
    assert split_list("labels", join_list(items)) == items
