"""Report about a dataset before training: labels, lengths, duplicates, and samples as the model sees them."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from softprompt.data import Example, ExampleDataset
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.encoded_example import (
    EncodedExample,
    ResponseTarget,
    SpanTarget,
    TagTargets,
    get_alignment,
    get_supervision,
)
from softprompt.tasks.extractive_qa_task import ExtractiveQAObjective
from softprompt.tasks.metrics.label_metrics import find_majority_label, is_imbalanced
from softprompt.tasks.objective import Objective
from softprompt.tasks.templates.answer_text import join_answer
from softprompt.tasks.token_classification_task import TokenClassificationObjective

NUM_RENDERED_EXAMPLES = 3

ProgressWrapper = Callable[[Iterable[Example], str, int], Iterable[Example]]
"""Function from examples, their name and their number to the same examples; it may show progress."""


@dataclass(frozen=True)
class TextSegment:
    """Segment of an example's text. The field names are keys of `softprompt data inspect --json`.

    Attributes:
        text: Text of the segment.
        supervised: Whether the model is trained to produce the segment.
    """

    text: str
    supervised: bool


@dataclass(frozen=True)
class RenderedExample:
    """Example as the model sees it.

    Attributes:
        location: File and line of the example.
        segments: Text of the example in order.
    """

    location: str
    segments: list[TextSegment]


@dataclass(frozen=True)
class MajorityLabel:
    """Most frequent label of a classification. The field names are keys of `softprompt data inspect --json`.

    Attributes:
        label: The label.
        share: Share of the examples with the label.
        is_uneven: Whether this share makes the labels imbalanced.
    """

    label: str
    share: float
    is_uneven: bool


@dataclass(frozen=True)
class SplitReport:
    """Report about the examples of one split.

    Attributes:
        source: Name of the data source.
        format: Name of the detected format.
        num_examples: Number of examples.
        label_counts: Number of examples of each label, or of words of each tag; empty without labels.
        lengths: Number of tokens of each example, with those of a response, without those of a label.
        num_truncated: Number of examples whose text does not fit the model's context window.
        num_duplicates: Number of examples that repeat an earlier one.
        num_contradictions: Number of examples with the input of an earlier one and another answer.
        first_answers: Hash of the first answer by hash of the input, for each distinct input.
        majority_label: Most frequent label, if each example has one.
    """

    source: str
    format: str
    num_examples: int
    label_counts: Mapping[str, int]
    lengths: Sequence[int]
    num_truncated: int
    num_duplicates: int
    num_contradictions: int
    first_answers: Mapping[int, int] = field(repr=False)
    majority_label: MajorityLabel | None = None

    def count_overlap(self, other: SplitReport) -> int:
        """Count the distinct inputs that both splits have."""
        return len(self.first_answers.keys() & other.first_answers.keys())


def inspect_split(objective: Objective, examples: ExampleDataset, with_progress: ProgressWrapper) -> SplitReport:
    """Encode every example once and count labels, lengths, duplicates and contradictions.

    Raises:
        RecordError: If an example does not fit the task.
    """
    lengths, label_indices, counts = array("L"), Counter[int](), Counter[str]()
    first_answers: dict[int, int] = {}
    for encoded in objective.encode_examples(with_progress(examples, examples.records.name, len(examples))):
        lengths.append(len(encoded))
        label_indices.update(_get_label_indices(encoded))
        prompt_hash = hash(tuple(encoded.prompt_ids))
        answer_hash = hash(encoded.supervision)
        counts["truncated"] += encoded.is_truncated
        counts["duplicates"] += first_answers.get(prompt_hash) == answer_hash
        counts["contradictions"] += first_answers.setdefault(prompt_hash, answer_hash) != answer_hash
    label_counts = _count_labels(objective, label_indices)
    return SplitReport(
        examples.records.name,
        examples.mapping.format.name,
        len(examples),
        label_counts,
        lengths,
        counts["truncated"],
        counts["duplicates"],
        counts["contradictions"],
        first_answers,
        _find_majority_label(label_counts) if isinstance(objective, ClassificationObjective) else None,
    )


def _get_label_indices(encoded: EncodedExample) -> Sequence[int]:
    """Return the index of an example's label, or those of its tags."""
    target = encoded.supervision
    return target.tag_indices if isinstance(target, TagTargets) else [encoded.label_index]


def _find_majority_label(label_counts: Mapping[str, int]) -> MajorityLabel:
    label, share = find_majority_label(label_counts)
    return MajorityLabel(label, share, is_imbalanced(share, len(label_counts)))


def _count_labels(objective: Objective, index_counts: Mapping[int, int]) -> dict[str, int]:
    if not isinstance(objective, ClassificationObjective | TokenClassificationObjective):
        return {}
    return {label: index_counts.get(index, 0) for index, label in enumerate(objective.task.labels)}


def render_samples(objective: Objective, examples: ExampleDataset) -> list[RenderedExample]:
    """Render three examples, from the beginning, the middle and the end, as the model sees them."""
    indices = sorted(
        {round(i * (len(examples) - 1) / (NUM_RENDERED_EXAMPLES - 1)) for i in range(NUM_RENDERED_EXAMPLES)}
    )
    return [
        RenderedExample(example.location, render_example(objective, example))
        for example in map(examples.__getitem__, indices)
    ]


def render_example(objective: Objective, example: Example) -> list[TextSegment]:
    """Render an example's text in segments that are given and segments that are supervised."""
    encoded = objective.encode_example(example)
    given = TextSegment(_decode_tokens(objective, encoded.prompt_ids), supervised=False)
    if isinstance(objective, ClassificationObjective):
        task = objective.task
        label = task.labels[encoded.label_index]
        answer = TextSegment(join_answer(objective.template, task.words.get(label, label)), supervised=True)
        if not encoded.suffix_ids:
            return [given, answer]
        return [given, answer, TextSegment(_decode_tokens(objective, encoded.suffix_ids), supervised=False)]
    if isinstance(objective, TokenClassificationObjective):
        return _render_tags(objective, encoded)
    if isinstance(objective, ExtractiveQAObjective):
        return _render_answer_span(objective, encoded)
    return [
        given,
        *(
            TextSegment(_decode_tokens(objective, ids), supervised)
            for supervised, ids in _split_by_supervision(encoded)
        ),
    ]


def _render_tags(objective: TokenClassificationObjective, encoded: EncodedExample) -> list[TextSegment]:
    """Render an example with the tag of each word in front of the word."""
    tag_indices = get_supervision(encoded, TagTargets).tag_indices
    tagged = [
        (position, tag)
        for position, tag in zip(get_alignment(encoded).token_positions, tag_indices, strict=True)
        if position >= 0
    ]
    ends = [position for position, _ in tagged[1:]] + [len(encoded.prompt_ids)]
    segments = [TextSegment(_decode_tokens(objective, encoded.prompt_ids[: tagged[0][0]]), supervised=False)]
    for (start, tag), end in zip(tagged, ends, strict=True):
        segments.append(TextSegment(objective.task.labels[tag], supervised=True))
        segments.append(TextSegment(_decode_tokens(objective, encoded.prompt_ids[start:end]), supervised=False))
    return segments


def _render_answer_span(objective: ExtractiveQAObjective, encoded: EncodedExample) -> list[TextSegment]:
    """Render an example with its answer as a supervised segment, unless the answer was truncated."""
    token_span = get_supervision(encoded, SpanTarget).token_span
    if token_span is None:
        return [TextSegment(_decode_tokens(objective, encoded.prompt_ids), supervised=False)]
    first, last = (get_alignment(encoded).token_positions[token] for token in token_span)
    parts = (
        (encoded.prompt_ids[:first], False),
        (encoded.prompt_ids[first : last + 1], True),
        (encoded.prompt_ids[last + 1 :], False),
    )
    return [TextSegment(_decode_tokens(objective, ids), supervised) for ids, supervised in parts]


def _decode_tokens(objective: Objective, ids: list[int]) -> str:
    """Decode token ids; virtual tokens have no text."""
    return str(objective.model.tokenizer.decode([i for i in ids if i >= 0]))


def _split_by_supervision(encoded: EncodedExample) -> list[tuple[bool, list[int]]]:
    """Split the response into runs of tokens that are all supervised, or all not."""
    response = get_supervision(encoded, ResponseTarget)
    supervised = set(response.loss_positions)
    runs: list[tuple[bool, list[int]]] = []
    for position, token in enumerate(response.token_ids):
        if not runs or runs[-1][0] != (position in supervised):
            runs.append((position in supervised, []))
        runs[-1][1].append(token)
    return runs


@dataclass(frozen=True)
class HistogramBin:
    """Bin of a histogram of lengths. The field names are keys of `softprompt data inspect --json`.

    Attributes:
        low: Smallest length in the bin.
        high: Largest length in the bin.
        count: Number of lengths in the bin.
    """

    low: int
    high: int
    count: int


def compute_histogram(lengths: Sequence[int], max_bins: int = 12) -> list[HistogramBin]:
    """Count lengths in at most `max_bins` bins of equal width."""
    low, high = min(lengths), max(lengths)
    width = -(-(high - low + 1) // max_bins)
    counts = Counter((length - low) // width for length in lengths)
    return [
        HistogramBin(low + i * width, low + (i + 1) * width - 1, counts[i]) for i in range((high - low) // width + 1)
    ]


def compute_quantiles(lengths: Sequence[int]) -> dict[str, int]:
    """Compute the minimum, the median, the 95th percentile and the maximum of lengths."""
    ordered = sorted(lengths)
    quantiles = {"min": 0.0, "median": 0.5, "p95": 0.95, "max": 1.0}
    return {name: ordered[round(quantile * (len(ordered) - 1))] for name, quantile in quantiles.items()}
