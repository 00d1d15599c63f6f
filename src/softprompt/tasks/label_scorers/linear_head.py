"""Score labels from one hidden state with a trained linear layer, as in P-tuning v2 (Liu et al. 2021).

The hidden state is that of the pooled token: the last token of a causal model, the mask token or else the first token
of a masked model, the last token of the decoder's prompt in an encoder-decoder.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softprompt.model import FrozenModel


class LinearHead(nn.Module):
    """A trained linear layer from `[H]` to K labels. It starts at zero, so that all labels are equally likely.

    The first gradient is then determined by the data alone.

    Attributes:
        appended_paths, output_nodes: no token is appended and one state is read (see `LabelScorer`).
        first_output_offset, max_extra_tokens: the state is at the last prompt token, as `split_at_answer` ends it.
    """

    appended_paths: tuple[tuple[int, ...], ...] = ((),)
    output_nodes: tuple[tuple[int, int], ...] = ((0, 0),)
    first_output_offset = -1
    max_extra_tokens = 0

    def __init__(self, num_labels: int, hidden_size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_labels, hidden_size))
        self.bias = nn.Parameter(torch.zeros(num_labels))

    def split_at_answer(self, model: FrozenModel, token_ids: list[int]) -> tuple[list[int], list[int]]:
        """Return the ids up to the pooled token, and the ids after it."""
        pooled_length = model.prompt_tokenizer.get_pooled_length(token_ids)
        return token_ids[:pooled_length], token_ids[pooled_length:]

    def compute_log_probs(self, model: FrozenModel, hidden_states: Float[Tensor, "B 1 H"]) -> Float[Tensor, "B K"]:  # noqa: ARG002
        """Return log-probabilities of the K labels from the hidden state of the pooled token."""
        return self.compute_logits(hidden_states[:, 0]).log_softmax(dim=-1)

    def compute_logits(self, hidden_states: Float[Tensor, "R H"]) -> Float[Tensor, "R K"]:
        """Return the logits of the K labels for each state."""
        return nn.functional.linear(hidden_states.float(), self.weight, self.bias)
