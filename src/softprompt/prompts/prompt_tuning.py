"""Prompt tuning: P embeddings in front of the text, trained directly (Lester et al. 2021, arXiv 2104.08691)."""

from __future__ import annotations

from torch import nn

from softprompt.model import Embeddings, Placement
from softprompt.prompts.initial import Start
from softprompt.prompts.soft_prompt import SoftPrompt
from softprompt.tasks import LinearHead


class PromptTuning(SoftPrompt):
    """`[P, H]` parameters that are the embeddings themselves."""

    def __init__(self, start: Start, placement: Placement, head: LinearHead | None = None):
        super().__init__(head)
        self.embeddings = nn.Parameter(start.tensor.clone())
        self.placement = placement

    def forward(self) -> Embeddings:
        """The embeddings, `[P, H]`."""
        return Embeddings(self.embeddings, self.placement)
