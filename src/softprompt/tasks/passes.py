"""Which rows go through the model together: those of like lengths, as many as pay."""

from __future__ import annotations

from collections.abc import Sequence

from softprompt.model import FrozenModel


def cut(lengths: Sequence[int], model: FrozenModel, most: int | None = None) -> list[list[int]]:
    """Rows in passes, the long with the long: padding is computed as far as it is cheaper than one more pass.

    Args:
        lengths: of the rows, in tokens.
        model: says what a pass costs and how many tokens it holds; a row that is longer is by itself.
        most: rows in a pass.
    """
    passes: list[list[int]] = []
    padding = 0
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        last = passes[-1] if passes else []
        padding += len(last) * (lengths[row] - lengths[last[-1]]) if last else 0
        fits = len(last) != most and (len(last) + 1) * lengths[row] <= model.pass_tokens
        if last and fits and padding <= model.pass_cost:
            last.append(row)
        else:
            passes.append([row])
            padding = 0
    return passes
