"""Flatten SQuAD's original files: articles with paragraphs, each a context with questions, to a record per question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def is_squad_articles(records: Sequence[Any]) -> bool:
    """Return whether the records are SQuAD articles."""
    return bool(records) and all(
        isinstance(record, dict) and isinstance(record.get("paragraphs"), list) for record in records
    )


def flatten_articles(articles: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """Return a record for each question with its context; None if the articles have another structure."""
    try:
        return [
            record
            for article in articles
            for paragraph in article["paragraphs"]
            for record in _iter_questions(article, paragraph)
        ]
    except (KeyError, TypeError):
        return None


def _iter_questions(article: Mapping[str, Any], paragraph: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    title = {"title": article["title"]} if "title" in article else {}
    for question in paragraph["qas"]:
        yield {**title, "context": paragraph["context"], **question}
