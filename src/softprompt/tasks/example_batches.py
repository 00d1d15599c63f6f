"""Split examples into batches for tokenization, bounded by number of examples and characters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from softprompt.data import Example

MAX_BATCH_EXAMPLES, MAX_BATCH_CHARACTERS = 256, 2**20


def split_into_batches(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """Yield batches of at most `MAX_BATCH_EXAMPLES` examples. A batch ends early at `MAX_BATCH_CHARACTERS`."""
    batch: list[Example] = []
    characters = 0
    for example in examples:
        batch.append(example)
        characters += sum(len(value) for value in example.fields.values() if isinstance(value, str))
        if len(batch) >= MAX_BATCH_EXAMPLES or characters >= MAX_BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
