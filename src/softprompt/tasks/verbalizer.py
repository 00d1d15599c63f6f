"""Read a label off the model's next-word logits.

Labels of one token are compared at one position. Labels of several tokens form a trie, and a label's probability is the
product of the choices at the branchings on its way, each normalised over the branches alone. So no label pays for
tokens that no other label could have had there (a longer label is not worse for being long), the probabilities sum to
one, and no logits beyond the trie's are computed. With one token a label this is the usual softmax over the labels.

All of it takes time and memory in proportion to the labels' tokens, however many labels there are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.errors import TaskError
from softprompt.model import FrozenModel
from softprompt.tasks.branching_scores import BranchingScores
from softprompt.tasks.label_trie import Branching, LabelTrie, Path, terminate_words


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
            TaskError: there is one word alone, two have the same tokens, or one has none; or one continues another, and
                nothing ends it.
        """
        trie = LabelTrie(terminate_words([tuple(word) for word in words], end))
        if not trie.branchings:
            raise TaskError("one label leaves nothing to choose from: name at least two")
        self.branchings = [Branching(trie.path_to(node), tuple(node.children)) for node in trie.branchings]
        self.paths, reached_by = _paths_of(trie, self.branchings)
        self.nodes = [(path, len(b.path)) for path, b in zip(reached_by, self.branchings, strict=True)]
        self._scores = BranchingScores(trie)

    @property
    def extra_tokens(self) -> int:
        """What the longest path adds to a row."""
        return max(map(len, self.paths))

    def split(self, model: FrozenModel, ids: list[int]) -> tuple[list[int], list[int]]:  # noqa: ARG002
        """A row's ids, all in front of the answer."""
        return ids, []

    def log_probabilities(self, model: FrozenModel, states: Float[Tensor, "B N H"]) -> Float[Tensor, "B K"]:
        """Log-probabilities of the K labels from the hidden states at the N branchings; each row sums to one."""
        return self._scores.log_probabilities(model, states)

    def together(self, choices: Sequence[Float[Tensor, "B _"]]) -> Float[Tensor, "B K"]:
        """Log-probabilities of the K labels from those of the tokens at each branching, among themselves."""
        return self._scores.sum_choices(torch.cat(list(choices), dim=1))


def _paths_of(trie: LabelTrie, branchings: Sequence[Branching]) -> tuple[tuple[Path, ...], list[int]]:
    """The ways to the branchings behind which no other is, and for each branching the first of them that passes it."""
    first: list[int | None] = [None] * len(trie.nodes)  # of the paths that pass each node
    numbers = {node.index: n for n, node in enumerate(trie.branchings)}
    ends = [False] * len(branchings)
    for node in reversed(trie.nodes):
        passing = [n for child in node.children.values() if (n := first[child]) is not None]
        number = numbers.get(node.index)
        if number is not None and not passing:
            ends[number] = True
            passing = [number]
        first[node.index] = min(passing, default=None)
    order = [n for n, is_end in enumerate(ends) if is_end]
    place = {n: i for i, n in enumerate(order)}
    reached = [first[index] for index in numbers]
    return tuple(branchings[n].path for n in order), [place[n] for n in reached if n is not None]
