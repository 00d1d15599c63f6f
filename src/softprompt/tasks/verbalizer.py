"""Read a label off the model's next-word logits.

Labels of one token are compared at one position. Labels of several tokens form a trie, and a label's probability is the
product of the choices at the branchings on its way, each normalised over the branches alone. So no label pays for
tokens that no other label could have had there (a longer label is not worse for being long), the probabilities sum to
one, and no logits beyond the trie's are computed. With one token a label this is the usual softmax over the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.errors import TaskError
from softprompt.model import FrozenModel

Path = tuple[int, ...]


@dataclass(frozen=True)
class Branching:
    """A place where labels part: the tokens read so far, and the tokens that may come next."""

    path: Path
    tokens: tuple[int, ...]


class Verbalizer:
    """The trie of the labels' tokens.

    Attributes:
        paths: token sequences to append to a row, so that every branching can be read; `((),)` when all labels part at
            their first token.
        nodes: for each branching, the path that reaches it and how many of that path's tokens it stands behind.
        branchings: the places where labels part.
        answer_begins: the last token of the prompt tells what comes next.
    """

    answer_begins = -1

    def __init__(self, words: Sequence[Sequence[int]], end: int | None):
        """Build the trie of K words in tokens; `end` ends a word that another word continues.

        Raises:
            TaskError: two labels have the same tokens, or one has none; or one continues another, and nothing ends it.
        """
        sequences = _terminated([tuple(word) for word in words], end)
        branchings = self.branchings = _branchings(sequences)
        self.paths = tuple(b.path for b in branchings if not _is_continued(b.path, branchings))
        self.nodes = [(_reaching(b.path, self.paths), len(b.path)) for b in branchings]
        self._tokens = [torch.tensor(b.tokens) for b in branchings]
        self._choices = [
            [(n, b.tokens.index(s[len(b.path)])) for n, b in enumerate(branchings) if _passes(s, b.path)]
            for s in sequences
        ]

    @property
    def extra_tokens(self) -> int:
        """What the longest path adds to a row."""
        return max(map(len, self.paths))

    def split(self, model: FrozenModel, ids: list[int]) -> tuple[list[int], list[int]]:  # noqa: ARG002
        """A row's ids, all in front of the answer."""
        return ids, []

    def log_probabilities(self, model: FrozenModel, states: Float[Tensor, "B N H"]) -> Float[Tensor, "B K"]:
        """Log-probabilities of the K labels from the hidden states at the N branchings; each row sums to one."""
        choices = [
            model.logits(states[:, n], tokens.to(states.device)).log_softmax(dim=-1)
            for n, tokens in enumerate(self._tokens)
        ]
        return self.together(choices)

    def together(self, choices: Sequence[Float[Tensor, "B _"]]) -> Float[Tensor, "B K"]:
        """Log-probabilities of the K labels from those of the tokens at each branching, among themselves."""
        return torch.stack([sum_of([choices[n][:, c] for n, c in label]) for label in self._choices], dim=1)


def sum_of(terms: Sequence[Tensor]) -> Tensor:
    """The sum of one or more tensors of one shape."""
    return torch.stack(list(terms)).sum(dim=0)


def _terminated(words: list[Path], end: int | None) -> list[Path]:
    for i, word in enumerate(words):
        if not word:
            raise TaskError(f"label {i + 1} has no tokens: give it a word with `verbalizer`")
        if word in words[:i]:
            raise TaskError(
                f"labels {words.index(word) + 1} and {i + 1} have the same tokens: "
                "give one another word with `verbalizer`"
            )
    continued = [_is_continued(word, [Branching(w, ()) for w in words]) for word in words]
    if end is None:
        if any(continued):
            raise TaskError(
                f"label {continued.index(True) + 1} is how another begins, and this model has no end-of-text token to "
                "tell them apart: give one another word with `verbalizer`"
            )
        return words
    return [(*word, end) if more else word for word, more in zip(words, continued, strict=True)]


def _branchings(sequences: list[Path]) -> list[Branching]:
    stems = dict.fromkeys(s[:depth] for s in sequences for depth in range(len(s)))
    found = []
    for stem in stems:
        following = tuple(dict.fromkeys(s[len(stem)] for s in sequences if _passes(s, stem)))
        if len(following) > 1:
            found.append(Branching(stem, following))
    return found


def _passes(sequence: Path, stem: Path) -> bool:
    return len(sequence) > len(stem) and sequence[: len(stem)] == stem


def _is_continued(path: Path, branchings: Sequence[Branching]) -> bool:
    return any(_passes(b.path, path) for b in branchings)


def _reaching(path: Path, paths: Sequence[Path]) -> int:
    return next(i for i, candidate in enumerate(paths) if candidate[: len(path)] == path)
