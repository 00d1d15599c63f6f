"""Repetition detection and BLEU against values computed by hand and by sacrebleu."""

from __future__ import annotations

import pytest

from softprompt.tasks.metrics.text_metrics import (
    corpus_bleu_score,
    has_repeated_ngram,
    sentence_bleu_score,
)


@pytest.mark.parametrize(
    "text",
    ["the the the", "it was the the the end", "a b a b a b", "one two three four " * 3, "so good so good so good so"],
)
def test_words_repeated_three_times_are_detected(text: str) -> None:
    assert has_repeated_ngram(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "the",
        "the the",
        "the film the plot the end",
        "a b a b a",
        (" ".join(map(str, range(13))) + " ") * 2,
        "thethethe",
        "很好很好",
        "ดีมากดีมาก",
    ],
)
def test_words_repeated_fewer_than_three_times_are_not_detected(text: str) -> None:
    assert not has_repeated_ngram(text)


def test_repetitions_of_any_length_are_found_in_any_script() -> None:
    assert has_repeated_ngram("the the", min_repeats=2)
    assert has_repeated_ngram("one two three four five " * 3)
    assert has_repeated_ngram((" ".join(map(str, range(40))) + " ") * 3)
    assert has_repeated_ngram("美国州的主要河流包括" + "河流：美国州的河流主要由美国河流组成，包括" * 3)
    assert has_repeated_ngram("味道很好，味道很好，味道很好，")
    assert has_repeated_ngram("ดีมากดีมากดีมาก")


def test_bleu_of_an_exact_match_is_100() -> None:
    text = "the restaurant Aro serves cheap fish near the river"
    assert corpus_bleu_score([text, text[4:]], [[text], [text[4:]]]) == pytest.approx(100)


def test_bleu_of_a_text_that_equals_any_of_its_references_is_100() -> None:
    text = "the restaurant Aro serves cheap fish"
    assert corpus_bleu_score([text, text], [["nothing of the kind at all", text], [text]]) == pytest.approx(100)


def test_bleu_is_zero_without_common_words() -> None:
    assert corpus_bleu_score(["a b c d e"], [["v w x y z"]]) == 0


def test_bleu_equals_a_hand_computed_value() -> None:
    # Of "a b c d e f" against "a b c d x y": precisions 4/6, 3/5, 2/4, 1/3, and no penalty for being short.
    expected = 100 * (4 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
    assert corpus_bleu_score(["a b c d e f"], [["a b c d x y"]]) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text",
    [
        "不客气！",
        "很抱歉，我们会处理。",
        "ありがとう",
        "カレーです",
        "감사합니다",
        "정말 감사합니다",
        "ขอบคุณครับ",
        "ຂອບໃຈ",
        "OK",
        "Yes, thank you.",
    ],
)
def test_bleu_of_identical_short_texts_in_any_script_is_100(text: str) -> None:
    assert corpus_bleu_score([text], [[text]]) == 100
    assert sentence_bleu_score(text, ["nothing of the kind", text]) == 100


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("今天的天气非常好我们一起去公园散步吧好吗你觉得呢", "今天的天气非常好我们一起去公园散步吧好吗您觉得呢"),
        ("我在2024年买了iPhone 15，价格是9,999.50元。", "我在2023年买了iPhone 15，价格是9,999.50元！"),
    ],
)
def test_bleu_of_chinese_counts_characters_as_sacrebleu_does(text: str, reference: str) -> None:
    from sacrebleu import corpus_bleu

    found = corpus_bleu_score([text], [[reference]])
    assert 50 < found < 100
    assert found == pytest.approx(corpus_bleu([text], [[reference]], tokenize="zh").score)


@pytest.mark.parametrize(
    ("text", "reference"),
    [("今日はとても寒いですね", "今日はとても暑いですね"), ("วันนี้อากาศหนาวมาก", "วันนี้อากาศร้อนมาก")],
)
def test_bleu_of_japanese_and_thai_credits_partial_matches(text: str, reference: str) -> None:
    assert 20 < corpus_bleu_score([text], [[reference]]) < 100


def test_bleu_of_english_equals_sacrebleu() -> None:
    from sacrebleu import corpus_bleu

    texts = ["the soup wasn't hot, e.g. 3.5% warm", "we liked the second course a lot"]
    references = ["the soup isn't hot, e.g. 3.5% warm", "we liked the first course a lot"]
    assert corpus_bleu_score(texts, [[each] for each in references]) == pytest.approx(
        corpus_bleu(texts, [references]).score
    )
