"""The texts of a request are tokenized in batches."""

from __future__ import annotations

from softprompt.server.generation.text_batches import split_into_batches


def test_many_or_long_texts_are_split_into_batches() -> None:
    assert split_into_batches(["tea"] * 20) == [range(20)]
    assert split_into_batches(["a" * 20_000] * 3) == [range(1), range(1, 2), range(2, 3)]
    assert split_into_batches([{"a": "b" * 40_000}, [1] * 40_000, "c"]) == [range(1), range(1, 2), range(2, 3)]
    assert split_into_batches(["tea"] * 400) == [range(318), range(318, 400)]
