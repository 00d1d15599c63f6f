"""The trie of labels in tokens, built in one walk over them. Knows no torch and no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from softprompt.errors import TaskError

Path = tuple[int, ...]


@dataclass(frozen=True)
class Branching:
    """A place where labels part: the tokens read so far, and the tokens that may come next."""

    path: Path
    tokens: tuple[int, ...]


@dataclass(eq=False)
class Node:
    """A place in the trie.

    Attributes:
        index: its number; a node's is higher than its parent's.
        parent: its parent's number; -1 for the root.
        token: that leads to it from its parent.
        children: the numbers of its children by their tokens, in the order in which labels first had them.
        label: the label that ends here; None where none does.
    """

    index: int
    parent: int
    token: int
    children: dict[int, int] = field(default_factory=dict)
    label: int | None = None


class LabelTrie:
    """Labels as token sequences that share their beginnings.

    Attributes:
        nodes: all of them, a parent before its children; the first is the root.
        leaves: for each label the number of the node where it ends.
    """

    def __init__(self, words: Sequence[Path]):
        """Build the trie of K words.

        Raises:
            TaskError: a word has no tokens, or two are the same.
        """
        self.nodes = [Node(0, -1, -1)]
        self.leaves = [self._insert(label, word) for label, word in enumerate(words)]

    def _insert(self, label: int, word: Path) -> int:
        if not word:
            raise TaskError(f"label {label + 1} has no tokens: give it a word with `verbalizer`")
        node = self.nodes[0]
        for token in word:
            child = node.children.get(token)
            if child is None:
                child = node.children[token] = len(self.nodes)
                self.nodes.append(Node(child, node.index, token))
            node = self.nodes[child]
        if node.label is not None:
            raise TaskError(
                f"labels {node.label + 1} and {label + 1} have the same tokens: give one another word with `verbalizer`"
            )
        node.label = label
        return node.index

    @property
    def continued(self) -> list[int]:
        """The labels that another continues, in their order."""
        return sorted(node.label for node in self.nodes if node.label is not None and node.children)

    @property
    def branchings(self) -> list[Node]:
        """The nodes where labels part."""
        return [node for node in self.nodes if len(node.children) > 1]

    def path_to(self, node: Node) -> Path:
        """The tokens that lead to a node."""
        return tuple(each.token for each in self._climb(node))[::-1]

    def _climb(self, node: Node) -> Iterator[Node]:
        while node.parent >= 0:
            yield node
            node = self.nodes[node.parent]


def terminate_words(words: Sequence[Path], end: int | None) -> list[Path]:
    """The words, each that another continues with `end` behind it.

    Raises:
        TaskError: a word has no tokens, two are the same, or one continues another and there is no `end`.
    """
    continued = LabelTrie(words).continued
    if continued and end is None:
        raise TaskError(
            f"label {continued[0] + 1} is how another begins, and this model has no end-of-text token to "
            "tell them apart: give one another word with `verbalizer`"
        )
    terminated = list(words)
    for label in continued:
        assert end is not None
        terminated[label] = (*words[label], end)
    return terminated
