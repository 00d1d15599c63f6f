"""The demo's messages: enough, balanced, and no near-duplicates, least of all between the splits."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files
from itertools import combinations
from pathlib import Path

from softprompt.data import read_examples

SPLITS = {"train": 240, "validation": 60, "test": 60}
DATA = Path(str(files("softprompt") / "demo"))
ROWS = {split: read_examples(DATA / f"messages.{split}.jsonl") for split in SPLITS}


def words(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()


def overlap(one: set[object], other: set[object]) -> float:
    """Jaccard's: what two sets share, of what they have together."""
    return len(one & other) / max(1, len(one | other))


def test_every_split_has_all_six_intents_equally_often() -> None:
    for split, count in SPLITS.items():
        labels = Counter(example.get_text("label") for example in ROWS[split])
        assert len(labels) == 6
        assert set(labels.values()) == {count // 6}


def test_no_two_messages_are_nearly_the_same() -> None:
    texts = [words(example.get_text("text")) for rows in ROWS.values() for example in rows]
    assert len(texts) == 360
    bags = [set(text) for text in texts]
    triples = [set(zip(text, text[1:], text[2:], strict=False)) for text in texts]
    for i, j in combinations(range(len(texts)), 2):
        assert overlap(bags[i], bags[j]) < 0.5
        assert overlap(triples[i], triples[j]) < 0.2


def test_messages_differ_in_length_and_rarely_contain_their_label() -> None:
    rows = [example for split in ROWS.values() for example in split]
    lengths = [len(words(example.get_text("text"))) for example in rows]
    assert min(lengths) < 8
    assert max(lengths) > 30
    telling = sum(example.get_text("label") in example.get_text("text").lower() for example in rows)
    assert telling < len(rows) / 4
