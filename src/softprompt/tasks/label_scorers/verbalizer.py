"""Score labels by the model's next-token logits.

Labels of one token are compared at one position. Labels of several tokens form a trie. A label's probability is the
product of the choices at the branch points on its path, each normalized over the branches alone. So a label does not
pay for tokens that no other label could have at that position, and longer labels are not penalized. The probabilities
sum to one, and only the trie's logits are computed. With one token per label this is the usual softmax over labels.

Time and memory are proportional to the labels' tokens, for any number of labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.errors import TaskError
from softprompt.model import FrozenModel
from softprompt.tasks.label_scorers.label_trie import BranchPoint, LabelTrie, TokenPath, add_terminators
from softprompt.tasks.label_scorers.trie_scorer import TrieScorer


class Verbalizer:
    """A verbalizer that scores K labels by a trie of their tokens.

    Attributes:
        appended_paths: token sequences to append to an example, so that every branch point can be read; `((),)` if all
            labels differ in their first token.
        output_nodes: for each branch point, the path that reaches it and the number of that path's tokens before it.
        branch_points: positions where labels part.
        first_output_offset: the last token of the prompt predicts the first token of the label.
    """

    first_output_offset = -1

    def __init__(self, label_token_ids: Sequence[Sequence[int]], terminator_id: int | None):
        """Build the trie from the token ids of K label words.

        Args:
            label_token_ids: token ids of each label's word.
            terminator_id: token that ends a word whose tokens are a prefix of another's; None if the model has none.

        Raises:
            TaskError: there is only one word, two have the same tokens, a word has no tokens, or a terminator is needed
                but None.
        """
        trie = LabelTrie(add_terminators([tuple(word) for word in label_token_ids], terminator_id))
        if not trie.branch_nodes:
            raise TaskError("only one label: pass at least two")
        self.branch_points = [BranchPoint(trie.get_path(node), tuple(node.children)) for node in trie.branch_nodes]
        self.appended_paths, reached_by = _find_paths(trie, self.branch_points)
        self.output_nodes = [
            (path, len(branch_point.path)) for path, branch_point in zip(reached_by, self.branch_points, strict=True)
        ]
        self._scorer = TrieScorer(trie)

    @property
    def max_extra_tokens(self) -> int:
        """The number of tokens of the longest path."""
        return max(map(len, self.appended_paths))

    def split_at_answer(self, model: FrozenModel, token_ids: list[int]) -> tuple[list[int], list[int]]:  # noqa: ARG002
        """Return all ids as the prompt, with nothing after the answer."""
        return token_ids, []

    def compute_log_probs(self, model: FrozenModel, hidden_states: Float[Tensor, "B N H"]) -> Float[Tensor, "B K"]:
        """Return log-probabilities of the K labels from the hidden states at the N branch points."""
        return self._scorer.compute_log_probs(model, hidden_states)

    def combine_branches(self, choice_log_probs: Sequence[Float[Tensor, "B _"]]) -> Float[Tensor, "B K"]:
        """Return log-probabilities of the K labels from those of the tokens at each branch point, normalized there."""
        return self._scorer.sum_choice_log_probs(torch.cat(list(choice_log_probs), dim=1))


def _find_paths(trie: LabelTrie, branch_points: Sequence[BranchPoint]) -> tuple[tuple[TokenPath, ...], list[int]]:
    """Return the paths to the last branch points, and for each branch point the first path through it."""
    first_path_by_node: list[int | None] = [None] * len(trie.nodes)  # of the paths that pass each node
    branch_indices = {node.index: n for n, node in enumerate(trie.branch_nodes)}
    is_last = [False] * len(branch_points)
    for node in reversed(trie.nodes):
        paths_through = [n for child in node.children.values() if (n := first_path_by_node[child]) is not None]
        branch_index = branch_indices.get(node.index)
        if branch_index is not None and not paths_through:
            is_last[branch_index] = True
            paths_through = [branch_index]
        first_path_by_node[node.index] = min(paths_through, default=None)
    last_branches = [n for n, is_end in enumerate(is_last) if is_end]
    path_indices = {n: i for i, n in enumerate(last_branches)}
    reached_by = [first_path_by_node[index] for index in branch_indices]
    return tuple(branch_points[n].path for n in last_branches), [path_indices[n] for n in reached_by if n is not None]
