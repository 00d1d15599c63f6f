"""Texts to distill that no model has seen: documents with questions, and an instruction with customer messages.

They are in `benchmarks/documents/`, whose README describes them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FOLDER = Path(__file__).parents[1] / "documents"
SUPPORT_STYLE_FILE = FOLDER / "support_style.txt"
ENGLISH_DOCUMENTS = ("employee_handbook", "device_manual", "town_guide")
CHINESE_DOCUMENTS = ("museum_guide_zh",)


@dataclass(frozen=True)
class DocumentQuestion:
    """A question about a document.

    Attributes:
        question: The question, as a reader of the document would ask it.
        answer: Short answer that follows from the document alone.
        span: Passage of the document that contains the answer, verbatim.
    """

    question: str
    answer: str
    span: str


@dataclass(frozen=True)
class QuestionedDocument:
    """A document and questions about it."""

    text: str
    questions: tuple[DocumentQuestion, ...]


def get_document_file(name: str) -> Path:
    """Return the file of a document's text."""
    return FOLDER / f"{name}.md"


def get_questions_file(name: str) -> Path:
    """Return the file of the questions about a document."""
    return FOLDER / f"{name}.jsonl"


def get_support_messages_file(split: Literal["train", "test"]) -> Path:
    """Return the file of the customers' messages to train on, or of the held-out ones."""
    return FOLDER / f"support_messages.{split}.jsonl"


def load_document(name: str) -> QuestionedDocument:
    """Load one of `ENGLISH_DOCUMENTS` or `CHINESE_DOCUMENTS`. The text has no white space at its end."""
    lines = get_questions_file(name).read_text("utf-8").splitlines()
    questions = tuple(DocumentQuestion(**json.loads(line)) for line in lines)
    return QuestionedDocument(get_document_file(name).read_text("utf-8").rstrip(), questions)


def load_support_style() -> str:
    """Load the instruction of the support assistant. It has no white space at its end."""
    return SUPPORT_STYLE_FILE.read_text("utf-8").rstrip()


def load_support_messages(split: Literal["train", "test"]) -> list[str]:
    """Load the customers' messages to train on, or the held-out ones."""
    lines = get_support_messages_file(split).read_text("utf-8").splitlines()
    return [json.loads(line)["input"] for line in lines]
