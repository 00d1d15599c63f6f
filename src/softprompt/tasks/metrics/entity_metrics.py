"""Entity metrics over BIO tags, as computed by CoNLL's script and seqeval."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

OUTSIDE_TAG = "O"
BEGIN_PREFIX, INSIDE_PREFIX = "B-", "I-"

EntitySpan = tuple[str, int, int]
"""Entity type, index of the first word, and index after the last word."""


def has_bio_tags(labels: Iterable[str]) -> bool:
    """Return whether the labels are BIO tags: `B-…`, `I-…` and `O`, with at least one entity type."""
    entity_labels = [label for label in labels if label != OUTSIDE_TAG]
    return bool(entity_labels) and all(label.startswith((BEGIN_PREFIX, INSIDE_PREFIX)) for label in entity_labels)


def extract_entities(tags: Sequence[str]) -> set[EntitySpan]:
    """Return the entities in a sequence of BIO tags. An `I-` without an entity before it begins one, as for CoNLL."""
    entities: set[EntitySpan] = set()
    entity_type, start = "", 0
    for i, tag in enumerate([*tags, OUTSIDE_TAG]):
        if tag.startswith(INSIDE_PREFIX) and tag[2:] == entity_type:
            continue
        if entity_type:
            entities.add((entity_type, start, i))
        entity_type, start = ("", i) if tag == OUTSIDE_TAG else (tag[2:], i)
    return entities


def entity_f1_score(predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> float:
    """Compute F1 over the entities of all sequences. An entity is right if its type, first and last word are."""
    pairs = [
        (extract_entities(predicted), extract_entities(expected))
        for predicted, expected in zip(predictions, references, strict=True)
    ]
    hits = sum(len(predicted & expected) for predicted, expected in pairs)
    total = sum(len(predicted) + len(expected) for predicted, expected in pairs)
    return 2 * hits / total if total else 0.0
