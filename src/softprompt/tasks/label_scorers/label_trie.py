"""The trie of label tokens, built in one pass over the labels. Knows no torch and no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from softprompt.errors import TaskError

TokenPath = tuple[int, ...]


@dataclass(frozen=True)
class BranchPoint:
    """A position where labels part: the tokens up to the position, and the possible next tokens."""

    path: TokenPath
    next_tokens: tuple[int, ...]


@dataclass(eq=False)
class TrieNode:
    """A node of the trie.

    Attributes:
        index: index of the node, larger than that of its parent.
        parent_index: index of the parent; -1 for the root.
        token_id: token that leads from the parent to this node.
        children: indices of the children by token, in the order in which labels introduced them.
        label_index: index of the label that ends here; None if no label does.
    """

    index: int
    parent_index: int
    token_id: int
    children: dict[int, int] = field(default_factory=dict)
    label_index: int | None = None


class LabelTrie:
    """A trie of labels as token sequences with shared prefixes.

    Attributes:
        nodes: all nodes, each parent before its children; the first node is the root.
        leaves: for each label, index of the node where it ends.
    """

    def __init__(self, label_token_ids: Sequence[TokenPath]):
        """Build the trie from the token ids of K labels.

        Raises:
            TaskError: a label has no tokens, or two labels have the same tokens.
        """
        self.nodes = [TrieNode(0, -1, -1)]
        self.leaves = [self._insert_label(label, word) for label, word in enumerate(label_token_ids)]

    def _insert_label(self, label_index: int, token_ids: TokenPath) -> int:
        if not token_ids:
            raise TaskError(f"label {label_index + 1} has no tokens: choose a word for it with `verbalizer`")
        node = self.nodes[0]
        for token in token_ids:
            child = node.children.get(token)
            if child is None:
                child = node.children[token] = len(self.nodes)
                self.nodes.append(TrieNode(child, node.index, token))
            node = self.nodes[child]
        if node.label_index is not None:
            raise TaskError(
                f"labels {node.label_index + 1} and {label_index + 1} have the same tokens: "
                "choose another word for one with `verbalizer`"
            )
        node.label_index = label_index
        return node.index

    @property
    def prefix_labels(self) -> list[int]:
        """The labels whose tokens are a prefix of another label's, in order."""
        return sorted(node.label_index for node in self.nodes if node.label_index is not None and node.children)

    @property
    def branch_nodes(self) -> list[TrieNode]:
        """The nodes with several children, where labels part."""
        return [node for node in self.nodes if len(node.children) > 1]

    def get_path(self, node: TrieNode) -> TokenPath:
        """Return the tokens that lead to a node."""
        return tuple(ancestor.token_id for ancestor in self._iter_ancestors(node))[::-1]

    def _iter_ancestors(self, node: TrieNode) -> Iterator[TrieNode]:
        while node.parent_index >= 0:
            yield node
            node = self.nodes[node.parent_index]


def add_terminators(label_token_ids: Sequence[TokenPath], terminator_id: int | None) -> list[TokenPath]:
    """Append `terminator_id` to every label whose tokens are a prefix of another label's.

    Raises:
        TaskError: a label has no tokens, two are the same, or a terminator is needed but None.
    """
    prefix_labels = LabelTrie(label_token_ids).prefix_labels
    if prefix_labels and terminator_id is None:
        raise TaskError(
            f"label {prefix_labels[0] + 1} is a prefix of another label, and this model has no end-of-text token to "
            "end it: choose another word for one with `verbalizer`"
        )
    terminated = list(label_token_ids)
    for label in prefix_labels:
        assert terminator_id is not None
        terminated[label] = (*label_token_ids[label], terminator_id)
    return terminated
