"""Exact match and F1 of answers against values computed by hand."""

from __future__ import annotations

import pytest

from softprompt.tasks.metrics.squad_metrics import exact_match_score, token_f1_score


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
def test_case_width_and_punctuation_of_any_script_are_ignored(answer: str, right: str) -> None:
    assert (token_f1_score(answer, [right]), exact_match_score(answer, [right])) == (1, 1)


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
    assert token_f1_score(answer, [right]) == pytest.approx(f1)
    assert exact_match_score(answer, [right]) == 0


def test_spaces_between_korean_words_count_in_exact_match_but_not_in_f1() -> None:
    assert exact_match_score("서울 시", ["서울시"]) == 0
    assert token_f1_score("서울 시", ["서울시"]) == 1


def test_answer_is_scored_against_the_closest_reference() -> None:
    assert token_f1_score("北京", ["上海", "北京市"]) == pytest.approx(4 / 5)
    assert exact_match_score("北京。", ["上海", "北京"]) == 1
