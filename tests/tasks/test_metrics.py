"""Figures of merit against values computed by hand."""

from __future__ import annotations

import pytest
import torch

from softprompt.tasks.metrics import accuracy, bleu, confusion, is_looping, macro_f1, sentence_bleu


def test_accuracy() -> None:
    assert accuracy(torch.tensor([0, 1, 2, 0]), torch.tensor([0, 1, 1, 1])) == 0.5
    assert accuracy(torch.tensor([1]), torch.tensor([1])) == 1.0


def test_confusion_has_a_row_a_label_and_a_column_a_prediction() -> None:
    found = confusion(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 0, 1, 1]), 3)
    assert found.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_macro_f1_is_the_mean_of_the_labels_f1() -> None:
    # Label 0: precision 2/3, recall 2/2. Label 1: precision 1/1, recall 1/2.
    found = macro_f1(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1]), 2)
    assert found == pytest.approx((4 / 5 + 2 / 3) / 2)


def test_macro_f1_leaves_out_a_label_that_neither_occurs_nor_is_foretold() -> None:
    assert macro_f1(torch.tensor([0, 1]), torch.tensor([0, 1]), 5) == 1.0


def test_macro_f1_counts_a_label_that_is_foretold_but_never_occurs() -> None:
    assert macro_f1(torch.tensor([0, 2]), torch.tensor([0, 0]), 3) == pytest.approx((2 / 3 + 0) / 2)


def test_macro_f1_of_nothing_right_is_zero() -> None:
    assert macro_f1(torch.tensor([1, 0]), torch.tensor([0, 1]), 2) == 0.0


@pytest.mark.parametrize(
    "text",
    ["the the the", "it was the the the end", "a b a b a b", "one two three four " * 3, "so good so good so good so"],
)
def test_words_that_come_three_times_in_a_row_loop(text: str) -> None:
    assert is_looping(text)


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
def test_words_that_do_not_come_three_times_in_a_row(text: str) -> None:
    assert not is_looping(text)


def test_loops_of_any_length_are_found_in_any_script() -> None:
    assert is_looping("the the", repeats=2)
    assert is_looping("one two three four five " * 3)
    assert is_looping((" ".join(map(str, range(40))) + " ") * 3)
    assert is_looping("美国州的主要河流包括" + "河流：美国州的河流主要由美国河流组成，包括" * 3)
    assert is_looping("味道很好，味道很好，味道很好，")
    assert is_looping("ดีมากดีมากดีมาก")


def test_bleu_of_an_exact_match_is_100() -> None:
    text = "the restaurant Aro serves cheap fish near the river"
    assert bleu([text, text[4:]], [[text], [text[4:]]]) == pytest.approx(100)


def test_bleu_takes_any_of_the_references() -> None:
    text = "the restaurant Aro serves cheap fish"
    assert bleu([text, text], [["nothing of the kind at all", text], [text]]) == pytest.approx(100)


def test_bleu_of_other_words_is_zero() -> None:
    assert bleu(["a b c d e"], [["v w x y z"]]) == 0


def test_bleu_by_hand() -> None:
    # Of "a b c d e f" against "a b c d x y": precisions 4/6, 3/5, 2/4, 1/3, and no penalty for being short.
    expected = 100 * (4 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
    assert bleu(["a b c d e f"], [["a b c d x y"]]) == pytest.approx(expected)


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
def test_bleu_of_identical_texts_is_100_however_short_and_in_any_script(text: str) -> None:
    assert bleu([text], [[text]]) == 100
    assert sentence_bleu(text, ["nothing of the kind", text]) == 100


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("今天的天气非常好我们一起去公园散步吧好吗你觉得呢", "今天的天气非常好我们一起去公园散步吧好吗您觉得呢"),
        ("我在2024年买了iPhone 15，价格是9,999.50元。", "我在2023年买了iPhone 15，价格是9,999.50元！"),
    ],
)
def test_bleu_of_chinese_counts_characters_as_sacrebleu_does(text: str, reference: str) -> None:
    from sacrebleu import corpus_bleu

    found = bleu([text], [[reference]])
    assert 50 < found < 100
    assert found == pytest.approx(corpus_bleu([text], [[reference]], tokenize="zh").score)


@pytest.mark.parametrize(
    ("text", "reference"),
    [("今日はとても寒いですね", "今日はとても暑いですね"), ("วันนี้อากาศหนาวมาก", "วันนี้อากาศร้อนมาก")],
)
def test_bleu_of_japanese_and_thai_gives_credit_for_what_is_right(text: str, reference: str) -> None:
    assert 20 < bleu([text], [[reference]]) < 100


def test_bleu_of_english_is_sacrebleus_own_whatever_stands_beside_it() -> None:
    from sacrebleu import corpus_bleu

    texts = ["the soup wasn't hot, e.g. 3.5% warm", "we liked the second course a lot"]
    references = ["the soup isn't hot, e.g. 3.5% warm", "we liked the first course a lot"]
    assert bleu(texts, [[each] for each in references]) == pytest.approx(corpus_bleu(texts, [references]).score)
