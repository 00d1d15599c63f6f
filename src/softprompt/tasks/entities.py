"""What a row of BIO tags names, and how many names were found: figures as CoNLL's script and seqeval compute them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

OUTSIDE = "O"
BEGIN, INSIDE = "B-", "I-"

Entity = tuple[str, int, int]
"""What it is, its first word, and the word behind its last."""


def is_bio(labels: Iterable[str]) -> bool:
    """Whether these are the tags of names: `B-…`, `I-…` and `O`, and not `O` alone."""
    named = [label for label in labels if label != OUTSIDE]
    return bool(named) and all(label.startswith((BEGIN, INSIDE)) for label in named)


def entities(tags: Sequence[str]) -> set[Entity]:
    """The names in a row of BIO tags. An `I-` that goes on with nothing begins one, as in CoNLL's own script."""
    found: set[Entity] = set()
    kind, first = "", 0
    for i, tag in enumerate([*tags, OUTSIDE]):
        if tag.startswith(INSIDE) and tag[2:] == kind:
            continue
        if kind:
            found.add((kind, first, i))
        kind, first = ("", i) if tag == OUTSIDE else (tag[2:], i)
    return found


def entity_f1(predicted: Sequence[Sequence[str]], right: Sequence[Sequence[str]]) -> float:
    """F1 over all rows' names together; a name is right if its kind, its first and its last word are."""
    pairs = [(entities(one), entities(other)) for one, other in zip(predicted, right, strict=True)]
    hits = sum(len(one & other) for one, other in pairs)
    total = sum(len(one) + len(other) for one, other in pairs)
    return 2 * hits / total if total else 0.0
