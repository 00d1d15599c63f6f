"""Read a label off a masked model's blank.

Labels of one token are compared at one blank, by a softmax over the labels alone. A label of n tokens gets n blanks,
all read in one pass, and scores the mean of its tokens' log-probabilities there, so that no label pays for its length
(as PET reads labels of several tokens, Schick and Schütze 2021, arXiv 2009.07118, with the mean for their product).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain, pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.errors import TaskError
from softprompt.model import FrozenModel


class ClozeVerbalizer:
    """K labels as tokens for blanks.

    Attributes:
        paths: as many blanks as the labels of each length need.
        nodes: for each blank, its path and its place in it.
        answer_begins: the first blank stands at the answer's own place.
    """

    answer_begins = 0

    def __init__(self, words: Sequence[Sequence[int]], blank: int):
        """Take the K words in tokens, and the id of a blank.

        Raises:
            TaskError: two labels have the same tokens, or one has none.
        """
        if any(not word for word in words):
            raise TaskError("a label has no tokens: give it a word with `verbalizer`")
        if same := next((a for a, b in pairwise(sorted(map(tuple, words))) if a == b), None):
            first, second = [i + 1 for i, word in enumerate(words) if tuple(word) == same][:2]
            raise TaskError(
                f"labels {first} and {second} have the same tokens: give one another word with `verbalizer`"
            )
        sizes = sorted({len(word) for word in words})
        self.blank = blank
        self.paths = tuple((blank,) * size for size in sizes)
        self.nodes = [(path, place) for path, size in enumerate(sizes) for place in range(size)]
        first_node = dict(zip(sizes, accumulate(sizes, initial=0), strict=False))
        labels = [[(first_node[len(word)] + i, token) for i, token in enumerate(word)] for word in words]
        found: list[set[int]] = [set() for _ in self.nodes]
        for at, token in chain.from_iterable(labels):
            found[at].add(token)
        self._tokens = [sorted(tokens) for tokens in found]
        columns = [{token: column for column, token in enumerate(tokens)} for tokens in self._tokens]
        self._labels = [[(n, columns[n][token]) for n, token in label] for label in labels]
        self._is_even = len(sizes) == 1

    @property
    def extra_tokens(self) -> int:
        """What the longest label adds to a row, which has one blank already."""
        return max(map(len, self.paths)) - 1

    def split(self, model: FrozenModel, ids: list[int]) -> tuple[list[int], list[int]]:  # noqa: ARG002
        """A row's ids in front of its blank and behind it."""
        at = ids.index(self.blank)
        return ids[:at], ids[at + 1 :]

    def log_probabilities(self, model: FrozenModel, states: Float[Tensor, "B N H"]) -> Float[Tensor, "B K"]:
        """Log-probabilities of the K labels from the hidden states at the N blanks; each row sums to one."""
        nodes = [self._scores(model, states[:, n], tokens) for n, tokens in enumerate(self._tokens)]
        labels = [torch.stack([nodes[n][:, at] for n, at in label]).mean(dim=0) for label in self._labels]
        return torch.stack(labels, dim=1).log_softmax(dim=1)

    def _scores(self, model: FrozenModel, state: Float[Tensor, "B H"], tokens: Sequence[int]) -> Float[Tensor, "B M"]:
        """The log-probabilities of M tokens at a blank, up to what all labels share there if all are of one length."""
        ids = torch.tensor(tokens, device=state.device)
        if self._is_even:
            return model.logits(state, ids)
        return model.logits(state).log_softmax(dim=1)[:, ids]
