"""Encoded examples in compact form: ids in arrays of 32-bit integers, and dicts for fields that few examples have."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, overload

from softprompt.tasks.objective import EncodedExample

RARE_FIELD_DEFAULTS: dict[str, Any] = {
    "supervised_positions": None,
    "alignment": None,
    "target_indices": (),
    "reference_answers": (),
    "is_target_truncated": False,
    "task_index": 0,
}


class CompactExamples(Sequence[EncodedExample]):
    """A sequence of encoded examples in compact form; examples are rebuilt on access.

    A hundred thousand examples of fifty tokens take 25 MB; as lists of Python integers they would take 200 MB.

    Args:
        examples: examples to store; each is read once and not kept.
    """

    def __init__(self, examples: Iterable[EncodedExample]):
        self._token_ids = array("i")
        self._segment_ends = array("Q", [0])  # of prompt, response and suffix of each example
        self._label_indices, self._truncation_flags = array("i"), bytearray()
        self._rare_fields: dict[int, dict[str, Any]] = {}
        for example in examples:
            self._append_example(example)

    def _append_example(self, example: EncodedExample) -> None:
        for ids in (example.prompt_ids, example.response_ids, example.suffix_ids):
            self._token_ids.extend(ids)
            self._segment_ends.append(len(self._token_ids))
        if rare_fields := {
            name: getattr(example, name)
            for name, default in RARE_FIELD_DEFAULTS.items()
            if getattr(example, name) != default
        }:
            if example.supervised_positions is not None:
                rare_fields["supervised_positions"] = array("i", example.supervised_positions)
            self._rare_fields[len(self._label_indices)] = rare_fields
        self._label_indices.append(example.label_index)
        self._truncation_flags.append(example.is_truncated)

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
        rare_fields = dict(self._rare_fields.get(index, ()))
        if "supervised_positions" in rare_fields:
            rare_fields["supervised_positions"] = tuple(rare_fields["supervised_positions"])
        return EncodedExample(
            prompt,
            response,
            self._label_indices[index],
            bool(self._truncation_flags[index]),
            suffix_ids=suffix,
            **rare_fields,
        )
