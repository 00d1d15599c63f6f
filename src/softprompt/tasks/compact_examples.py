"""Encoded examples in compact form: ids in arrays of 32-bit integers, and dicts for fields that few examples have."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import overload

from softprompt.tasks.encoded_example import AlignedExample, EncodedExample, LabelTarget, ResponseTarget, Supervision
from softprompt.tasks.templates.token_alignment import TokenAlignment


class CompactExamples(Sequence[EncodedExample]):
    """A sequence of encoded examples in compact form; examples are rebuilt on access.

    A hundred thousand examples of fifty tokens take 25 MB; as lists of Python integers they would take 200 MB.

    Args:
        examples: examples to store; each is read once and not kept.
    """

    def __init__(self, examples: Iterable[EncodedExample]):
        self._token_ids = array("i")
        self._segment_ends = array("Q", [0])  # of prompt, response and suffix of each example
        self._label_indices, self._truncation_flags = array("i"), bytearray()  # -1: no label
        self._loss_positions: dict[int, array[int]] = {}  # of responses with a loss on some tokens only
        self._other_supervision: dict[int, Supervision] = {}  # neither a label nor a response
        self._alignments: dict[int, TokenAlignment] = {}
        self._task_indices: dict[int, int] = {}
        for example in examples:
            self._append_example(example)

    def _append_example(self, example: EncodedExample) -> None:
        index = len(self)
        for ids in (example.prompt_ids, example.response_ids, example.suffix_ids):
            self._token_ids.extend(ids)
            self._segment_ends.append(len(self._token_ids))
        self._label_indices.append(example.label_index)
        self._truncation_flags.append(example.is_truncated)
        self._store_supervision(index, example.supervision)
        if isinstance(example, AlignedExample):
            self._alignments[index] = example.alignment
        if example.task_index:
            self._task_indices[index] = example.task_index

    def _store_supervision(self, index: int, supervision: Supervision | None) -> None:
        """Store what the arrays of ids and labels do not hold of an example's supervision."""
        match supervision:
            case None | LabelTarget():
                pass
            case ResponseTarget(token_ids=token_ids, loss_positions=loss_positions) if token_ids:
                if loss_positions != range(len(token_ids)):
                    self._loss_positions[index] = array("i", loss_positions)
            case _:
                self._other_supervision[index] = supervision

    def __len__(self) -> int:
        return len(self._label_indices)

    @property
    def lengths(self) -> Sequence[int]:
        """Number of tokens of each example."""
        return array("Q", [self._segment_ends[3 * i + 3] - self._segment_ends[3 * i] for i in range(len(self))])

    @property
    def num_truncated(self) -> int:
        """Number of examples whose text was truncated."""
        return sum(self._truncation_flags)

    @overload
    def __getitem__(self, index: int) -> EncodedExample: ...
    @overload
    def __getitem__(self, index: slice) -> list[EncodedExample]: ...
    def __getitem__(self, index: int | slice) -> EncodedExample | list[EncodedExample]:
        indices = range(len(self))[index]
        return (
            [self._build_example(example_index) for example_index in indices]
            if isinstance(indices, range)
            else self._build_example(indices)
        )

    def _build_example(self, index: int) -> EncodedExample:
        ends = self._segment_ends[3 * index : 3 * index + 4]
        prompt, response, suffix = (self._token_ids[start:end].tolist() for start, end in pairwise(ends))
        supervision = self._build_supervision(index, response)
        is_truncated, task_index = bool(self._truncation_flags[index]), self._task_indices.get(index, 0)
        alignment = self._alignments.get(index)
        if alignment is None:
            return EncodedExample(prompt, supervision, suffix, is_truncated, task_index)
        return AlignedExample(prompt, supervision, suffix, is_truncated, task_index, alignment=alignment)

    def _build_supervision(self, index: int, response_ids: list[int]) -> Supervision | None:
        if self._label_indices[index] >= 0:
            return LabelTarget(self._label_indices[index])
        if not response_ids:
            return self._other_supervision.get(index)
        loss_positions = self._loss_positions.get(index)
        target = ResponseTarget.from_tokens(response_ids)
        return target if loss_positions is None else ResponseTarget(target.token_ids, tuple(loss_positions))
