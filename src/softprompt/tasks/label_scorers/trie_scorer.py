"""Compute label log-probabilities from hidden states at branch points, with few large matrix products.

A label's log-probability is the sum over the branch points on its path. The choices of a branch point are normalized
among themselves. Many small branch points share one product with the LM head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from softprompt.model import FrozenModel
from softprompt.tasks.label_scorers.label_trie import LabelTrie

MAX_GROUP_SIZE = 64  # branch points that share a product, which covers the tokens of all of them


@dataclass(frozen=True)
class _BranchGroup:
    """A group of branch points with similar numbers of choices.

    Attributes:
        branch_indices: indices of the branch points, `[n]`.
        token_ids: tokens that occur among their choices, `[m]`.
        token_columns: columns of `token_ids` with the choices of each branch point, `[n, f]`.
        choice_mask: false at padding, `[n, f]`, where a branch point has fewer than f choices.
    """

    branch_indices: Int[Tensor, "n"]
    token_ids: Int[Tensor, "m"]
    token_columns: Int[Tensor, "n f"]
    choice_mask: Bool[Tensor, "n f"]

    @classmethod
    def from_choices(cls, branch_indices: Sequence[int], choices: Sequence[Sequence[int]]) -> _BranchGroup:
        """Build a group from the indices of branch points and the choices of each."""
        column_of = {
            token: i for i, token in enumerate(dict.fromkeys(token_id for tokens in choices for token_id in tokens))
        }
        max_choices = max(map(len, choices))
        columns = [
            [column_of[token_id] for token_id in tokens] + [0] * (max_choices - len(tokens)) for tokens in choices
        ]
        choice_mask = [[True] * len(tokens) + [False] * (max_choices - len(tokens)) for tokens in choices]
        return cls(
            torch.tensor(branch_indices), torch.tensor([*column_of]), torch.tensor(columns), torch.tensor(choice_mask)
        )

    def compute_log_probs(self, model: FrozenModel, hidden_states: Float[Tensor, "B N H"]) -> Float[Tensor, "B _"]:
        """Return the log-probability of each choice within its branch point, branch point by branch point."""
        device = hidden_states.device
        logits = model.compute_logits(hidden_states[:, self.branch_indices.to(device)], self.token_ids.to(device))
        token_columns, choice_mask = self.token_columns.to(device), self.choice_mask.to(device)
        choice_logits = logits.gather(2, token_columns.expand(len(hidden_states), -1, -1)).masked_fill(
            ~choice_mask, float("-inf")
        )
        return choice_logits.log_softmax(dim=-1)[:, choice_mask]


class TrieScorer:
    """A scorer of the K labels of a trie.

    A choice is one token at one branch point. Choices are numbered branch point by branch point.

    Args:
        trie: trie of the labels.
    """

    def __init__(self, trie: LabelTrie):
        branch_nodes = trie.branch_nodes
        choices = [[*node.children] for node in branch_nodes]
        self._groups = list(_group_branches(choices))
        self._choice_order = _compute_choice_order(self._groups, choices)
        self._levels, self._label_columns = _build_levels(trie)

    def compute_log_probs(self, model: FrozenModel, hidden_states: Float[Tensor, "B N H"]) -> Float[Tensor, "B K"]:
        """Return log-probabilities of the K labels from the hidden states at the N branch points."""
        choice_log_probs = torch.cat([group.compute_log_probs(model, hidden_states) for group in self._groups], dim=1)
        return self.sum_choice_log_probs(choice_log_probs[:, self._choice_order.to(choice_log_probs.device)])

    def sum_choice_log_probs(self, choice_log_probs: Float[Tensor, "B C"]) -> Float[Tensor, "B K"]:
        """Return log-probabilities of the K labels from those of the choices within their branch points."""
        totals: list[Tensor] = []
        for choice_indices, parent_columns in self._levels:
            level_log_probs = choice_log_probs[:, choice_indices.to(choice_log_probs.device)]
            totals.append(
                level_log_probs + totals[-1][:, parent_columns.to(choice_log_probs.device)]
                if totals
                else level_log_probs
            )
        return torch.cat(totals, dim=1)[:, self._label_columns.to(choice_log_probs.device)]


def _group_branches(choices: Sequence[Sequence[int]]) -> Iterator[_BranchGroup]:
    """Yield groups of up to `MAX_GROUP_SIZE` branch points with similar numbers of choices."""
    order = sorted(range(len(choices)), key=lambda n: len(choices[n]))
    group: list[int] = []
    for node in order:
        if group and (len(group) == MAX_GROUP_SIZE or len(choices[node]) > 2 * len(choices[group[0]])):
            yield _BranchGroup.from_choices(group, [choices[n] for n in group])
            group = []
        group.append(node)
    yield _BranchGroup.from_choices(group, [choices[n] for n in group])


def _compute_choice_order(groups: Sequence[_BranchGroup], choices: Sequence[Sequence[int]]) -> Int[Tensor, "C"]:
    """Return the index of each choice in the concatenated outputs of the groups."""
    nodes = [node for group in groups for node in group.branch_indices.tolist()]
    first_indices, count = [0] * len(choices), 0
    for node in nodes:
        first_indices[node] = count
        count += len(choices[node])
    return torch.tensor([first_indices[node] + i for node, tokens in enumerate(choices) for i in range(len(tokens))])


def _build_levels(trie: LabelTrie) -> tuple[list[tuple[Tensor, Tensor]], Int[Tensor, "K"]]:
    """Arrange the choices in levels by depth, so that log-probabilities can be added level by level.

    Returns:
        For each level, its choices and, for each choice, the column of its parent choice in the level above. And for
        each label, the column of its last choice in the concatenation of all levels.
    """
    level_by_node, last_column_by_node = (
        [-1] * len(trie.nodes),
        [-1] * len(trie.nodes),
    )  # of the last choice on the path to each node
    choices_by_level: list[list[int]] = []
    parents_by_level: list[list[int]] = []
    choice = 0
    for node in trie.nodes:
        level, parent_column = level_by_node[node.index], last_column_by_node[node.index]
        is_branching = len(node.children) > 1
        if is_branching and level + 1 == len(choices_by_level):
            choices_by_level.append([])
            parents_by_level.append([])
        for child in node.children.values():
            level_by_node[child], last_column_by_node[child] = level, parent_column
            if is_branching:
                level_by_node[child], last_column_by_node[child] = level + 1, len(choices_by_level[level + 1])
                choices_by_level[level + 1].append(choice)
                parents_by_level[level + 1].append(parent_column)
                choice += 1
    level_offsets = [0]
    for level_choices in choices_by_level:
        level_offsets.append(level_offsets[-1] + len(level_choices))
    labels = [level_offsets[level_by_node[leaf]] + last_column_by_node[leaf] for leaf in trie.leaves]
    levels = [
        (torch.tensor(level_choices), torch.tensor(parent_columns))
        for level_choices, parent_columns in zip(choices_by_level, parents_by_level, strict=True)
    ]
    return levels, torch.tensor(labels)
