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
        question_requests: requests for a question about a passage, which the model writes.
        summary_requests: inputs about a passage, which contain its first words as `{opening}`.
        repetition_request: input that is answered by a passage itself, which contains its first words as `{opening}`.
        question_label: word before a question, for models without a chat template.
        question_template: template of a question and its answer, for models without a chat template.
    """

    question_requests: tuple[str, ...]
    summary_requests: tuple[str, ...]
    repetition_request: str
    question_label: str
    question_template: str


ENGLISH_PROMPTS = StudyPrompts(
    question_requests=(
        "Write one short question about a fact in this text. Reply with the question only.",
        "Write one question whose answer is a number, a name or a date in this text. Reply with the question only.",
        "Write one question of a person who wants to do what this text explains. Reply with the question only.",
        "Write one question about a reason that this text gives. Reply with the question only.",
        "Write one question that can be answered with yes or no from this text. Reply with the question only.",
        "Describe in one sentence a situation in which a person needs this text, and end with the person's question.",
    ),
    summary_requests=(
        "Summarize the part that begins with “{opening}”.",
        "List the main points of the part that begins with “{opening}”.",
    ),
    repetition_request="Repeat the part that begins with “{opening}”, word for word.",
    question_label="Question:",
    question_template="Question: {input}\nAnswer:",
)

CHINESE_PROMPTS = StudyPrompts(
    question_requests=(
        "请针对这段文字中的一个事实写一个简短的问题。只回复问题。",
        "请写一个问题，其答案是这段文字中的数字、名称或日期。只回复问题。",
        "有人想做这段文字所说明的事情，请写出他会问的一个问题。只回复问题。",
        "请针对这段文字给出的一个原因写一个问题。只回复问题。",
        "请写一个可以根据这段文字用“是”或“否”回答的问题。只回复问题。",
        "请用一句话描述一个需要这段文字的情景，并以其中人物的问题结尾。",
    ),
    summary_requests=("请概括以“{opening}”开头的部分。", "请列出以“{opening}”开头的部分的要点。"),
    repetition_request="请逐字重复以“{opening}”开头的部分。",
    question_label="问题：",
    question_template="问题：{input}\n回答：",
)


def select_study_prompts(document: str) -> StudyPrompts:
    """Return the requests in the language of a document."""
    num_letters = len(_LETTER_PATTERN.findall(document))
    is_chinese = len(_CHINESE_PATTERN.findall(document)) >= MIN_CHINESE_SHARE * num_letters
    return CHINESE_PROMPTS if is_chinese else ENGLISH_PROMPTS
