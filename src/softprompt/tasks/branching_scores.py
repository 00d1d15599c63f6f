"""From hidden states where labels part to the labels' log-probabilities: few large products, however many labels.

A label's log-probability is the sum over the branchings on its way. A branching's choices are normalised among
themselves; many small branchings share one product with the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from softprompt.model import FrozenModel
from softprompt.tasks.label_trie import LabelTrie

GROUP_SIZE = 64  # branchings that share a product; each is multiplied by the tokens of all


@dataclass(frozen=True)
class _Group:
    """Branchings with about as many choices each.

    Attributes:
        nodes: `[n]`, which of the branchings.
        tokens: `[m]`, the tokens that any of them has.
        columns: `[n, f]`, where in `tokens` each one's choices are.
        is_choice: `[n, f]`, false where a branching has fewer than f.
    """

    nodes: Int[Tensor, "n"]
    tokens: Int[Tensor, "m"]
    columns: Int[Tensor, "n f"]
    is_choice: Bool[Tensor, "n f"]

    @classmethod
    def from_choices(cls, nodes: Sequence[int], choices: Sequence[Sequence[int]]) -> _Group:
        """The branchings with these numbers, each with its tokens."""
        column_of = {token: i for i, token in enumerate(dict.fromkeys(t for each in choices for t in each))}
        widest = max(map(len, choices))
        columns = [[column_of[t] for t in each] + [0] * (widest - len(each)) for each in choices]
        is_choice = [[True] * len(each) + [False] * (widest - len(each)) for each in choices]
        return cls(torch.tensor(nodes), torch.tensor([*column_of]), torch.tensor(columns), torch.tensor(is_choice))

    def log_probabilities(self, model: FrozenModel, states: Float[Tensor, "B N H"]) -> Float[Tensor, "B _"]:
        """Of each choice among those of its branching, branching by branching."""
        device = states.device
        logits = model.logits(states[:, self.nodes.to(device)], self.tokens.to(device))
        columns, is_choice = self.columns.to(device), self.is_choice.to(device)
        chosen = logits.gather(2, columns.expand(len(states), -1, -1)).masked_fill(~is_choice, float("-inf"))
        return chosen.log_softmax(dim=-1)[:, is_choice]


class BranchingScores:
    """How the K labels of a trie are scored.

    A choice is one branching's one token; choices are counted branching by branching.

    Args:
        trie: of the labels.
    """

    def __init__(self, trie: LabelTrie):
        branchings = trie.branchings
        choices = [[*node.children] for node in branchings]
        self._groups = list(_grouped(choices))
        self._order = _order_of(self._groups, choices)
        self._levels, self._labels = _levels_of(trie)

    def log_probabilities(self, model: FrozenModel, states: Float[Tensor, "B N H"]) -> Float[Tensor, "B K"]:
        """Log-probabilities of the K labels from the hidden states at the N branchings."""
        found = torch.cat([group.log_probabilities(model, states) for group in self._groups], dim=1)
        return self.sum_choices(found[:, self._order.to(found.device)])

    def sum_choices(self, choices: Float[Tensor, "B C"]) -> Float[Tensor, "B K"]:
        """Log-probabilities of the K labels from those of the choices, each among those of its branching."""
        totals: list[Tensor] = []
        for own, above in self._levels:
            level = choices[:, own.to(choices.device)]
            totals.append(level + totals[-1][:, above.to(choices.device)] if totals else level)
        return torch.cat(totals, dim=1)[:, self._labels.to(choices.device)]


def _grouped(choices: Sequence[Sequence[int]]) -> Iterator[_Group]:
    """The branchings in groups: those with about as many choices together, up to `GROUP_SIZE`."""
    order = sorted(range(len(choices)), key=lambda n: len(choices[n]))
    group: list[int] = []
    for node in order:
        if group and (len(group) == GROUP_SIZE or len(choices[node]) > 2 * len(choices[group[0]])):
            yield _Group.from_choices(group, [choices[n] for n in group])
            group = []
        group.append(node)
    yield _Group.from_choices(group, [choices[n] for n in group])


def _order_of(groups: Sequence[_Group], choices: Sequence[Sequence[int]]) -> Int[Tensor, "C"]:
    """Where in what the groups give, one behind the other, each choice is."""
    nodes = [node for group in groups for node in group.nodes.tolist()]
    place, count = [0] * len(choices), 0
    for node in nodes:
        place[node] = count
        count += len(choices[node])
    return torch.tensor([place[node] + i for node, each in enumerate(choices) for i in range(len(each))])


def _levels_of(trie: LabelTrie) -> tuple[list[tuple[Tensor, Tensor]], Int[Tensor, "K"]]:
    """How choices add up, the branchings that no other is above first.

    Returns:
        For each level its choices, and for each of them which choice of the level above leads to it; and for each label
        the place of its last choice when all levels stand one behind the other.
    """
    level_of, last = [-1] * len(trie.nodes), [-1] * len(trie.nodes)  # of the choice that leads to each node
    own: list[list[int]] = []
    above: list[list[int]] = []
    choice = 0
    for node in trie.nodes:
        level, leading = level_of[node.index], last[node.index]
        is_branching = len(node.children) > 1
        if is_branching and level + 1 == len(own):
            own.append([])
            above.append([])
        for child in node.children.values():
            level_of[child], last[child] = level, leading
            if is_branching:
                level_of[child], last[child] = level + 1, len(own[level + 1])
                own[level + 1].append(choice)
                above[level + 1].append(leading)
                choice += 1
    starts = [0]
    for each in own:
        starts.append(starts[-1] + len(each))
    labels = [starts[level_of[leaf]] + last[leaf] for leaf in trie.leaves]
    levels = [(torch.tensor(each), torch.tensor(leads)) for each, leads in zip(own, above, strict=True)]
    return levels, torch.tensor(labels)
