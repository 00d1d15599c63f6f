"""Residual prompt tuning and P-tuning: embeddings with an encoder that is trained with them and then discarded.

Both papers put a small network between the trained parameters and the embeddings, which makes the loss easier to
minimize. Here the network's output is added to its input and its last layer starts at zero, so that a prompt starts
exactly at its initial value. The sum is saved.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from softprompt.model import Placement, PromptEmbeddings
from softprompt.prompts.initializers import InitialValue
from softprompt.prompts.soft_prompt import SoftPrompt
from softprompt.tasks import LinearHead


class ReparameterizedPrompt(SoftPrompt):
    """A soft prompt with `[P, H]` parameters and an encoder; the payload is parameters + encoder(parameters)."""

    def __init__(self, init: InitialValue, encoder: nn.Module, placement: Placement, head: LinearHead | None = None):
        super().__init__(head)
        self.tokens = nn.Parameter(init.tensor.clone())
        self.encoder = encoder
        self.placement = placement

    def forward(self) -> PromptEmbeddings:
        """Return the encoded prompt embeddings, `[P, H]`."""
        return PromptEmbeddings(self.tokens + self.encoder(self.tokens), self.placement)


class LSTMEncoder(nn.Module):
    """A bidirectional LSTM over the P tokens and two layers (P-tuning v1, Liu et al. 2021, arXiv 2103.10385)."""

    def __init__(self, embedding_size: int, hidden_size: int):
        super().__init__()
        self.lstm = nn.LSTM(embedding_size, hidden_size, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Sequential(
            nn.Linear(2 * hidden_size, 2 * hidden_size),
            nn.ReLU(),
            zero_initialize(nn.Linear(2 * hidden_size, embedding_size)),
        )

    def forward(self, tokens: Float[Tensor, "P H"]) -> Float[Tensor, "P H"]:
        """Encode every token together with its neighbours."""
        encoded: Tensor = self.head(self.lstm(tokens.unsqueeze(0))[0])
        return encoded.squeeze(0)


def build_mlp_encoder(embedding_size: int, hidden_size: int) -> nn.Module:
    """Build an MLP of three layers for single tokens (P-tuning v1 as in peft)."""
    return nn.Sequential(
        nn.Linear(embedding_size, hidden_size),
        nn.ReLU(),
        nn.Linear(hidden_size, hidden_size),
        nn.ReLU(),
        zero_initialize(nn.Linear(hidden_size, embedding_size)),
    )


def build_residual_encoder(embedding_size: int, hidden_size: int) -> nn.Module:
    """Build a bottleneck of two layers after a normalization (Razdaibiedina et al. 2023, arXiv 2305.03937)."""
    return nn.Sequential(
        nn.LayerNorm(embedding_size),
        nn.Linear(embedding_size, hidden_size),
        nn.ReLU(),
        zero_initialize(nn.Linear(hidden_size, embedding_size)),
    )


def zero_initialize(layer: nn.Linear) -> nn.Linear:
    """Set a layer's weights and biases to zero, so that its output starts at zero, and return the layer."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
