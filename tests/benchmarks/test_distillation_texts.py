"""The texts of the distillation benchmarks: answers come from the documents, and no two inputs are alike."""

from __future__ import annotations

import itertools
import re

import pytest

from benchmarks.lib.distillation_texts import (
    CHINESE_DOCUMENTS,
    ENGLISH_DOCUMENTS,
    FOLDER,
    load_document,
    load_support_messages,
    load_support_style,
)
from softprompt.data import read_examples
from softprompt.model import FrozenModel

ALL_DOCUMENTS = (*ENGLISH_DOCUMENTS, *CHINESE_DOCUMENTS)
NUM_FRAME_WORDS = 4  # messages that begin with the same words share a frame
MAX_COMMON_SHARE = 0.4  # of the words of two messages


def words(text: str) -> list[str]:
    """Return the words of a text in lower case; each Chinese character is a word."""
    return re.findall(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+", text.lower())


def count_tokens(model: FrozenModel, text: str) -> int:
    return len(model.tokenizer(text, add_special_tokens=False).input_ids)


@pytest.mark.parametrize("name", ALL_DOCUMENTS)
def test_every_answer_has_a_verbatim_span_of_its_document(name: str) -> None:
    document = load_document(name)
    assert [each.span for each in document.questions if each.span not in document.text] == []
    assert len(document.questions) == (30 if name in ENGLISH_DOCUMENTS else 15)


def test_no_question_occurs_twice() -> None:
    questions = [each.question for name in ALL_DOCUMENTS for each in load_document(name).questions]
    assert len(set(questions)) == len(questions)


@pytest.mark.parametrize("name", ALL_DOCUMENTS)
def test_at_most_half_of_an_answer_is_in_its_question(name: str) -> None:
    for each in load_document(name).questions:
        answer = set(words(each.answer))
        assert len(answer & set(words(each.question))) <= len(answer) / 2, each


@pytest.mark.parametrize("name", ALL_DOCUMENTS)
def test_the_questions_of_a_document_ask_about_all_of_its_sections(name: str) -> None:
    document = load_document(name)
    for section in document.text.split("\n## ")[1:]:
        assert any(each.span in section for each in document.questions), section


def test_a_chinese_document_has_about_600_characters() -> None:
    for name in CHINESE_DOCUMENTS:
        assert 540 <= len(load_document(name).text) <= 660


def test_support_messages_are_different_from_each_other() -> None:
    messages = [words(text) for split in ("train", "test") for text in load_support_messages(split)]
    frames = {tuple(message[:NUM_FRAME_WORDS]) for message in messages}
    assert len(frames) == len(messages) == 250
    for first, second in itertools.combinations(map(set, messages), 2):
        assert len(first & second) <= MAX_COMMON_SHARE * len(first | second), (first, second)


def test_support_messages_are_split_into_200_and_50() -> None:
    for split, size in (("train", 200), ("test", 50)):
        examples = read_examples(FOLDER / f"support_messages.{split}.jsonl", format_name="fields")
        assert len(examples) == size


@pytest.mark.real
def test_texts_have_the_expected_numbers_of_tokens(smollm2: FrozenModel) -> None:
    for name in ENGLISH_DOCUMENTS:
        document = load_document(name)
        assert 950 <= count_tokens(smollm2, document.text) <= 1100, name
        for each in document.questions:
            assert 3 <= count_tokens(smollm2, " " + each.answer) <= 25, each
    assert 280 <= count_tokens(smollm2, load_support_style()) <= 350
