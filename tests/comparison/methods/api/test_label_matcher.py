"""The label that a reply names."""

from __future__ import annotations

import pytest

from softprompt.comparison.methods.api.label_matcher import match_label

WORDS = ["good", "bad", "not good", "Sci/Tech", "正面", "负面", "C", "C++", "-1", "1"]


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        ("good", "good"),
        (" good\n", "good"),
        ("GOOD.", "good"),
        ("**Good**", "good"),
        ('"Bad"', "bad"),
        ("Good, a fine film", "good"),
        ("Not good.", "not good"),
        ("sci-tech", "Sci/Tech"),
        ("Sci Tech", "Sci/Tech"),
        ("ｇｏｏｄ", "good"),
        ("正面", "正面"),
        ("正面的。", "正面"),
        ("“负面”", "负面"),
        ("Label: bad", "bad"),
        ("label:正面", "正面"),
        ("C++", "C++"),
        ("c++.", "C++"),
        ("C.", "C"),
        ("-1", "-1"),
        ("-1.", "-1"),
        ("1.", "1"),
    ],
)
def test_a_reply_that_names_a_label_matches_the_label(reply: str, word: str) -> None:
    found = match_label(reply, WORDS, "\nSay it.\nLabel: ")
    assert found is not None
    assert WORDS[found] == word


@pytest.mark.parametrize(
    "reply",
    ["", " ", "...", "fine", "goodness", "the film is good", "good or bad", "good/bad", "正面或负面", "–1", "Label:"],
)
def test_a_reply_that_names_no_label_matches_no_label(reply: str) -> None:
    assert match_label(reply, WORDS, "\nLabel:") is None


def test_similar_words_match_only_their_exact_spelling() -> None:
    assert match_label("us", ["US", "us"]) == 1
    assert match_label("Us.", ["US", "us"]) is None


def test_a_word_of_two_labels_matches_neither() -> None:
    assert match_label("same", ["same", "same"]) is None


def test_a_word_of_punctuation_matches_only_exactly() -> None:
    assert match_label(":)", [":)", ":("]) == 0
    assert match_label("good", ["***", "good"]) == 1
