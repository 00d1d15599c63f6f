"""What a model is asked to do with a passage of a document when it studies it, in English and Chinese.

The kinds of requests are those of Cartridges' self-study (arXiv 2506.06266): questions, summaries, structure, use
cases, and the passage itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MIN_CHINESE_SHARE = 0.3  # of a document's letters

_CHINESE_PATTERN = re.compile(r"[\u4e00-\u9fff]")
_LETTER_PATTERN = re.compile(r"\w")


@dataclass(frozen=True)
class StudyPrompts:
    """Requests in one language.

    Attributes:
        question_request: request for a question about a passage, which the model writes.
        question_openings: first words of the questions, which the model continues. Small models write better and more
            different questions than if the request describes the kind of question.
        summary_requests: inputs about a passage, which contain its first words as `{opening}`.
        repetition_request: input that is answered by a passage itself, which contains its first words as `{opening}`.
        summary_instruction: request for a short version of a whole text.
        summary_label: word before a summary, for models without a chat template.
        question_label: word before a question, for models without a chat template.
        question_template: template of a question and its answer, for models without a chat template.
    """

    question_request: str
    question_openings: tuple[str, ...]
    summary_requests: tuple[str, ...]
    repetition_request: str
    summary_instruction: str
    summary_label: str
    question_label: str
    question_template: str


ENGLISH_PROMPTS = StudyPrompts(
    question_request="Write one short question that this text answers. Reply with the question only.",
    question_openings=(
        "What",
        "How many",
        "When",
        "Who",
        "Why",
        "How do I",
        "Which",
        "Where",
        "Can",
        "What happens if",
        "Is",
        "How long",
    ),
    summary_requests=(
        "Summarize the part that begins with “{opening}”.",
        "List the main points of the part that begins with “{opening}”.",
    ),
    repetition_request="Repeat the part that begins with “{opening}”, word for word.",
    summary_instruction="Summarize this text as briefly as possible, with all its facts and rules.",
    summary_label="Summary:",
    question_label="Question:",
    question_template="Question: {input}\nAnswer:",
)

CHINESE_PROMPTS = StudyPrompts(
    question_request="请写一个这段文字能够回答的简短问题。只回复问题。",
    question_openings=(
        "什么",
        "多少",
        "什么时候",
        "谁",
        "为什么",
        "怎样",
        "哪个",
        "哪里",
        "可以",
        "如果",
        "是否",
        "多长时间",
    ),
    summary_requests=("请概括以“{opening}”开头的部分。", "请列出以“{opening}”开头的部分的要点。"),
    repetition_request="请逐字重复以“{opening}”开头的部分。",
    summary_instruction="请尽量简短地概括这段文字，保留所有事实和规则。",
    summary_label="概括：",
    question_label="问题：",
    question_template="问题：{input}\n回答：",
)


def select_study_prompts(document: str) -> StudyPrompts:
    """Return the requests in the language of a document."""
    num_letters = len(_LETTER_PATTERN.findall(document))
    is_chinese = len(_CHINESE_PATTERN.findall(document)) >= MIN_CHINESE_SHARE * num_letters
    return CHINESE_PROMPTS if is_chinese else ENGLISH_PROMPTS
