"""Collation: the ids that all prompts of a batch begin with."""

from __future__ import annotations

from typing import Any

import pytest

from softprompt.tasks import EncodedExample
from softprompt.tasks.collation import find_common_prefix


@pytest.mark.parametrize(
    ("prompts", "shared"),
    [
        ([[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 9, 9]], [1, 2]),
        ([[1, 2, 3]], [1, 2]),  # the last one is an output position
        ([[1, -1, 3, 4], [1, -1, 3, 4]], [1]),
        ([[1, 2, 3], [4, 2, 3]], []),
        ([[1, 2, 3], [1, 2]], [1]),
        ([[1, 2, 3], [1, 2, 3]], [1, 2]),
    ],
)
def test_common_prefix_ends_at_virtual_tokens_or_outputs(prompts: list[list[int]], shared: list[int]) -> None:
    assert find_common_prefix([EncodedExample(prompt) for prompt in prompts]) == shared


def test_common_prefix_is_found_in_one_pass() -> None:
    class Counted(list[EncodedExample]):
        walks = 0

        def __iter__(self) -> Any:
            self.walks += 1
            return super().__iter__()

    rows = Counted(EncodedExample([7] * 30 + [i]) for i in range(3))
    assert find_common_prefix(rows) == [7] * 30
    assert rows.walks == 1
