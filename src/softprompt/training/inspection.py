"""What a data set is like before it is trained on: labels, lengths, what comes twice, what the model will see."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from softprompt.data import Example, Examples
from softprompt.tasks import Objective, Row
from softprompt.tasks.classification import ClassificationObjective
from softprompt.tasks.extraction import ExtractionObjective
from softprompt.tasks.label_shares import is_uneven, most_frequent
from softprompt.tasks.tagging import TaggingObjective
from softprompt.tasks.template import joined

SHOWN = 3

Watched = Callable[[Iterable[Example], str, int], Iterable[Example]]
"""Examples, what they are and how many, to the same examples: it may show how far they have come."""


@dataclass(frozen=True)
class Piece:
    """A part of a row's text; `supervised` if the model learns to say it."""

    text: str
    supervised: bool


@dataclass(frozen=True)
class Shown:
    """One row as the model sees it, and where it stands."""

    where: str
    pieces: list[Piece]


@dataclass(frozen=True)
class Majority:
    """The most frequent label of a classification, its share of the examples, and whether that makes labels uneven."""

    label: str
    share: float
    is_uneven: bool


@dataclass(frozen=True)
class Split:
    """The examples of one file.

    Attributes:
        source: where they are from.
        format: the format that was found.
        examples: how many.
        labels: how many of each label, or words of each tag; empty where there are none.
        lengths: each row's tokens, with those of a response, without those of a label.
        cut: of how many rows the text does not fit the model's window.
        duplicates: how many rows repeat an earlier one.
        contradictions: how many rows have the input of an earlier one and another answer.
        answers: from a name for each different input to a name for its first answer.
        majority: the most frequent label, where each example has one.
    """

    source: str
    format: str
    examples: int
    labels: Mapping[str, int]
    lengths: Sequence[int]
    cut: int
    duplicates: int
    contradictions: int
    answers: Mapping[int, int] = field(repr=False)
    majority: Majority | None = None

    def overlap(self, other: Split) -> int:
        """How many different inputs are in both."""
        return len(self.answers.keys() & other.answers.keys())


def inspect_split(objective: Objective, examples: Examples, watched: Watched) -> Split:
    """Put every example in tokens once and count.

    Raises:
        RowError: an example does not fit the task.
    """
    lengths, labels, counts = array("L"), Counter[int](), Counter[str]()
    answers: dict[int, int] = {}
    for row in objective.encode_all(watched(examples, examples.rows.name, len(examples))):
        lengths.append(len(row))
        labels.update(row.targets if isinstance(objective, TaggingObjective) else [row.label])
        asked, answer = hash(tuple(row.prompt)), hash((row.label, *row.response, *row.targets))
        counts["cut"] += row.cut
        counts["duplicates"] += answers.get(asked) == answer
        counts["contradictions"] += answers.setdefault(asked, answer) != answer
    named = _named(objective, labels)
    return Split(
        examples.rows.name,
        examples.meaning.format.name,
        len(examples),
        named,
        lengths,
        counts["cut"],
        counts["duplicates"],
        counts["contradictions"],
        answers,
        _majority(named) if isinstance(objective, ClassificationObjective) else None,
    )


def _majority(labels: Mapping[str, int]) -> Majority:
    label, share = most_frequent(labels)
    return Majority(label, share, is_uneven(share, len(labels)))


def _named(objective: Objective, labels: Mapping[int, int]) -> dict[str, int]:
    if not isinstance(objective, ClassificationObjective | TaggingObjective):
        return {}
    return {label: labels.get(index, 0) for index, label in enumerate(objective.task.labels)}


def shown(objective: Objective, examples: Examples) -> list[Shown]:
    """Three rows, from the beginning, the middle and the end, as the model sees them."""
    places = sorted({round(i * (len(examples) - 1) / (SHOWN - 1)) for i in range(SHOWN)})
    return [Shown(example.where, pieces(objective, example)) for example in map(examples.__getitem__, places)]


def pieces(objective: Objective, example: Example) -> list[Piece]:
    """A row's text in the parts that are given and those that are learnt."""
    row = objective.encode(example)
    given = [Piece(_text(objective, row.prompt), supervised=False)]
    if isinstance(objective, ClassificationObjective):
        task = objective.task
        label = task.labels[row.label]
        said = Piece(joined(objective.template, task.words.get(label, label)), supervised=True)
        return [*given, said, *([Piece(_text(objective, row.tail), supervised=False)] if row.tail else [])]
    if isinstance(objective, TaggingObjective):
        return _tagged(objective, row)
    if isinstance(objective, ExtractionObjective):
        return _marked(objective, row)
    return [*given, *(Piece(_text(objective, ids), supervised) for supervised, ids in _runs(row))]


def _tagged(objective: TaggingObjective, row: Row) -> list[Piece]:
    """A row with every word's tag in front of it."""
    assert row.passage is not None
    read = [(place, tag) for place, tag in zip(row.passage.places, row.targets, strict=True) if place >= 0]
    ends = [place for place, _ in read[1:]] + [len(row.prompt)]
    found = [Piece(_text(objective, row.prompt[: read[0][0]]), supervised=False)]
    for (place, tag), end in zip(read, ends, strict=True):
        found.append(Piece(objective.task.labels[tag], supervised=True))
        found.append(Piece(_text(objective, row.prompt[place:end]), supervised=False))
    return found


def _marked(objective: ExtractionObjective, row: Row) -> list[Piece]:
    """A row with its answer marked, where it was not cut away."""
    if row.passage is None or row.lost:
        return [Piece(_text(objective, row.prompt), supervised=False)]
    first, last = (row.passage.places[target] for target in row.targets)
    parts = (row.prompt[:first], False), (row.prompt[first : last + 1], True), (row.prompt[last + 1 :], False)
    return [Piece(_text(objective, ids), supervised) for ids, supervised in parts]


def _text(objective: Objective, ids: list[int]) -> str:
    """The text of ids; virtual tokens have none."""
    return str(objective.model.tokenizer.decode([i for i in ids if i >= 0]))


def _runs(row: Row) -> list[tuple[bool, list[int]]]:
    """The response in runs of tokens that are all learnt, or all not."""
    learnt = set(row.supervised)
    runs: list[tuple[bool, list[int]]] = []
    for place, token in enumerate(row.response):
        if not runs or runs[-1][0] != (place in learnt):
            runs.append((place in learnt, []))
        runs[-1][1].append(token)
    return runs


@dataclass(frozen=True)
class Bar:
    """How many lengths lie from `low` to `high`, both included."""

    low: int
    high: int
    count: int


def histogram(lengths: Sequence[int], most: int = 12) -> list[Bar]:
    """Lengths counted in at most that many ranges of equal width."""
    low, high = min(lengths), max(lengths)
    width = -(-(high - low + 1) // most)
    counts = Counter((length - low) // width for length in lengths)
    return [Bar(low + i * width, low + (i + 1) * width - 1, counts[i]) for i in range((high - low) // width + 1)]


def quantiles(lengths: Sequence[int]) -> dict[str, int]:
    """The shortest, the middle, the length that 95% do not exceed, and the longest."""
    ordered = sorted(lengths)
    places = {"min": 0.0, "median": 0.5, "p95": 0.95, "max": 1.0}
    return {name: ordered[round(place * (len(ordered) - 1))] for name, place in places.items()}
