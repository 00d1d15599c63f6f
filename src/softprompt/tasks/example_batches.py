"""Examples in batches that are tokenized in one call: so many of them, and no more text than a bound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from softprompt.data import Example

EXAMPLES, CHARACTERS = 256, 2**20


def split_into_batches(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """Lists of at most `EXAMPLES` each, which end early once they hold `CHARACTERS`."""
    batch: list[Example] = []
    characters = 0
    for example in examples:
        batch.append(example)
        characters += sum(len(value) for value in example.fields.values() if isinstance(value, str))
        if len(batch) >= EXAMPLES or characters >= CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
