"""Exact match and F1 of answers against values computed by hand."""

from __future__ import annotations

import pytest

from softprompt.tasks.overlap import exact_match, overlap_f1


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("北京，", "北京"),
        ("「東京」", "東京"),
        ("“北京”", "北京"),
        ("１９９０年", "1990年"),
        ("Ａｎｎ", "ann"),
        ("서울.", "서울"),
        ("«Ann Lee»", "ann lee"),
        ("The Ann-Lee", "AnnLee"),
        ("Ann…", "Ann"),
        ("", "。"),
    ],
)
def test_case_width_and_punctuation_of_any_script_do_not_matter(answer: str, right: str) -> None:
    assert (overlap_f1(answer, [right]), exact_match(answer, [right])) == (1, 1)


@pytest.mark.parametrize(
    ("answer", "right", "f1"),
    [
        ("北京市", "北京", 4 / 5),
        ("在北京，三点", "北京三点", 8 / 9),
        ("東京タワー", "東京", 4 / 7),
        ("서울에서", "서울", 4 / 6),
        ("กรุงเทพ", "กรุง", 8 / 11),
        ("A公司", "公司", 4 / 5),
        ("Ann Lee", "Lee", 2 / 3),
        ("上海", "北京", 0),
        ("", "北京", 0),
    ],
)
def test_scripts_without_spaces_are_compared_by_the_character(answer: str, right: str, f1: float) -> None:
    assert overlap_f1(answer, [right]) == pytest.approx(f1)
    assert exact_match(answer, [right]) == 0


def test_korean_words_are_one_in_an_exact_match() -> None:
    assert exact_match("서울 시", ["서울시"]) == 0
    assert overlap_f1("서울 시", ["서울시"]) == 1


def test_the_nearest_right_answer_counts() -> None:
    assert overlap_f1("北京", ["上海", "北京市"]) == pytest.approx(4 / 5)
    assert exact_match("北京。", ["上海", "北京"]) == 1
