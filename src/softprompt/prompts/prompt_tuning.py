"""Prompt tuning: P embeddings in front of the text, trained directly (Lester et al. 2021, arXiv 2104.08691)."""

from __future__ import annotations

from torch import nn

from softprompt.model import Placement, PromptEmbeddings
from softprompt.prompts.initializers import InitialValue
from softprompt.prompts.soft_prompt import SoftPrompt
from softprompt.tasks import LinearHead


class PromptTuning(SoftPrompt):
    """A soft prompt whose parameters, `[P, H]`, are the prompt embeddings."""

    def __init__(self, init: InitialValue, placement: Placement, head: LinearHead | None = None):
        super().__init__(head)
        self.embeddings = nn.Parameter(init.tensor.clone())
        self.placement = placement

    def forward(self) -> PromptEmbeddings:
        """Return the prompt embeddings, `[P, H]`."""
        return PromptEmbeddings(self.embeddings, self.placement)
