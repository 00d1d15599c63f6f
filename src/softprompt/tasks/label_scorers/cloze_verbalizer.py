"""Score labels at the mask token of a masked model.

Labels of one token are compared at one mask, by a softmax over the labels alone. A label of n tokens gets n masks, all
predicted in one pass. Its score is the mean log-probability of its tokens there, so long labels are not penalized (as
PET scores labels of several tokens, Schick and Schütze 2021, arXiv 2009.07118, with the mean for their product).
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
    """A verbalizer that scores K labels by their tokens at masks.

    Attributes:
        appended_paths: sequences of masks, one for each label length.
        output_nodes: for each mask, its path and its index in the path.
        first_output_offset: the first mask is at the position of the answer itself.
    """

    first_output_offset = 0

    def __init__(self, label_token_ids: Sequence[Sequence[int]], mask_token_id: int):
        """Build the verbalizer from the token ids of K label words and the id of the mask token.

        Raises:
            TaskError: two labels have the same tokens, or a label has no tokens.
        """
        if any(not word for word in label_token_ids):
            raise TaskError("a label has no tokens: choose a word for it with `verbalizer`")
        if duplicate := next((a for a, b in pairwise(sorted(map(tuple, label_token_ids))) if a == b), None):
            first, second = [i + 1 for i, word in enumerate(label_token_ids) if tuple(word) == duplicate][:2]
            raise TaskError(
                f"labels {first} and {second} have the same tokens: choose another word for one with `verbalizer`"
            )
        sizes = sorted({len(word) for word in label_token_ids})
        self.mask_token_id = mask_token_id
        self.appended_paths = tuple((mask_token_id,) * size for size in sizes)
        self.output_nodes = [(path, index) for path, size in enumerate(sizes) for index in range(size)]
        first_node = dict(zip(sizes, accumulate(sizes, initial=0), strict=False))
        labels = [[(first_node[len(word)] + i, token) for i, token in enumerate(word)] for word in label_token_ids]
        tokens_by_node: list[set[int]] = [set() for _ in self.output_nodes]
        for node, token in chain.from_iterable(labels):
            tokens_by_node[node].add(token)
        self._tokens_by_node = [sorted(tokens) for tokens in tokens_by_node]
        columns = [{token: column for column, token in enumerate(tokens)} for tokens in self._tokens_by_node]
        self._label_columns = [[(n, columns[n][token]) for n, token in label] for label in labels]
        self._has_equal_lengths = len(sizes) == 1

    @property
    def max_extra_tokens(self) -> int:
        """The masks that the longest label adds to an example, which has one mask already."""
        return max(map(len, self.appended_paths)) - 1

    def split_at_answer(self, model: FrozenModel, token_ids: list[int]) -> tuple[list[int], list[int]]:  # noqa: ARG002
        """Return the ids before the mask and after it."""
        mask_index = token_ids.index(self.mask_token_id)
        return token_ids[:mask_index], token_ids[mask_index + 1 :]

    def compute_log_probs(self, model: FrozenModel, hidden_states: Float[Tensor, "B N H"]) -> Float[Tensor, "B K"]:
        """Return log-probabilities of the K labels from the states at the N masks; the probabilities sum to one."""
        node_scores = [
            self._score_tokens(model, hidden_states[:, n], tokens) for n, tokens in enumerate(self._tokens_by_node)
        ]
        labels = [
            torch.stack([node_scores[n][:, column] for n, column in label]).mean(dim=0) for label in self._label_columns
        ]
        return torch.stack(labels, dim=1).log_softmax(dim=1)

    def _score_tokens(
        self, model: FrozenModel, hidden_states: Float[Tensor, "B H"], token_ids: Sequence[int]
    ) -> Float[Tensor, "B M"]:
        """Score M tokens at one mask: by logits if all labels have the same length, else by log-probabilities.

        With equal lengths, the normalization over the vocabulary is the same for all labels and cancels in the softmax.
        """
        ids = torch.tensor(token_ids, device=hidden_states.device)
        if self._has_equal_lengths:
            return model.compute_logits(hidden_states, ids)
        return model.compute_logits(hidden_states).log_softmax(dim=1)[:, ids]
