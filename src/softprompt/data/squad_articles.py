"""SQuAD's own files: articles with paragraphs, each a context with its questions. They become a row a question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def is_articles(rows: Sequence[Any]) -> bool:
    """Whether these are articles and no rows."""
    return bool(rows) and all(isinstance(row, dict) and isinstance(row.get("paragraphs"), list) for row in rows)


def questions_of(articles: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """A row for each question, with the context it is asked of; None if the articles are built otherwise."""
    try:
        return [row for article in articles for paragraph in article["paragraphs"] for row in _rows(article, paragraph)]
    except (KeyError, TypeError):
        return None


def _rows(article: Mapping[str, Any], paragraph: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    title = {"title": article["title"]} if "title" in article else {}
    for question in paragraph["qas"]:
        yield {**title, "context": paragraph["context"], **question}
