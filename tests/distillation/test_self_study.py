"""The inputs that a model writes about a document."""

from __future__ import annotations

import pytest

from softprompt.distillation import self_study
from softprompt.distillation.self_study import SelfStudy
from softprompt.distillation.study_prompts import CHINESE_PROMPTS, ENGLISH_PROMPTS, select_study_prompts
from softprompt.model import CausalModel
from softprompt.tasks import ChatTask, GenerationTask
from tests.chat_templates import WITH_DEFAULT_SYSTEM, chat_model
from tests.tiny import shared_model

DOCUMENT = "# Film\n\nThe film was great fun.\n\n---\n\nTea is served. The food is awful."
GENERATION = GenerationTask(template=ENGLISH_PROMPTS.question_template)


def build(document: str = DOCUMENT, max_passage_tokens: int = 12) -> SelfStudy:
    model = shared_model("llama")
    assert isinstance(model, CausalModel)
    return SelfStudy(model, GENERATION, document, max_passage_tokens)


@pytest.fixture
def questioning(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let each written text be the end of a question; the numbers of questions of each call."""
    counts: list[int] = []

    def write(model: object, examples: list[object], *_: object, **__: object) -> list[str]:
        counts.append(len(examples))
        return [f"is {i}" + ("?" if i % 3 else ".") for i in range(len(examples))]

    monkeypatch.setattr(self_study, "generate_texts", write)
    return counts


def test_each_passage_gets_questions_and_is_summarized_and_repeated(questioning: list[int]) -> None:
    study = build()
    written = study.write_inputs(40, seed=0)
    assert [each.output for each in written if each.output is not None] == study.passages
    assert sum(each.input.startswith("Summarize") or each.input.startswith("List") for each in written) >= 2
    assert questioning == [40 - max(len(study.passages), 6) - 4]


def test_only_questions_are_kept_and_equal_ones_once(questioning: list[int]) -> None:
    written = build().write_inputs(40, seed=0)
    questions = [each.input for each in written if each.output is None and each.input.endswith("?")]
    assert questions
    assert all(" is " in question for question in questions)
    assert len(set(written)) == len(written)


@pytest.mark.parametrize("document", ["---", "# * -\n\n| |\n\n###", "***\n\nThe film.", "。。。"])
def test_passages_without_words_are_studied_too(document: str, questioning: list[int]) -> None:
    for max_passage_tokens in (1, 20):
        assert build(document, max_passage_tokens).write_inputs(9, seed=0)


def test_sentences_that_are_too_long_are_not_repeated(questioning: list[int]) -> None:
    study = build("The film was great fun and the food is awful and tea is served.\n\nTea.", max_passage_tokens=5)
    assert len(study.passages) == 2
    assert [each.output for each in study.write_inputs(12, seed=0) if each.output is not None] == ["Tea."]


def test_questions_are_reproducible() -> None:
    one, same = (build().write_inputs(10, seed=3) for _ in range(2))
    assert one == same


def test_a_chat_model_continues_the_first_words_of_a_question() -> None:
    model = chat_model(WITH_DEFAULT_SYSTEM)
    study = SelfStudy(model, ChatTask(system_message="prompt"), DOCUMENT, 20)
    text = model.tokenizer.decode(study._encode_opening("How many").prompt_ids)
    assert ENGLISH_PROMPTS.question_request[:30] in text
    assert text.endswith("[assistant] How many")
    assert "You are fun" not in text


def test_requests_are_in_the_language_of_the_document() -> None:
    assert select_study_prompts("The film was fun.") is ENGLISH_PROMPTS
    assert select_study_prompts("天气很好。Tea") is CHINESE_PROMPTS
    assert select_study_prompts("---") is select_study_prompts("") is not None


@pytest.mark.parametrize(("ending", "warns"), [(".", True), ("", True), ("?", False), ("？", False)])
def test_a_model_that_writes_no_question_is_warned_about(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, ending: str, warns: bool
) -> None:
    monkeypatch.setattr(self_study, "generate_texts", lambda _, examples, *__, **___: [f"is{ending}" for _ in examples])
    assert build().write_inputs(12, seed=0)
    assert ("ends with a question mark, for example 'What is" in caplog.text) == warns
