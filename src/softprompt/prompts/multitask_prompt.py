"""Multitask prompt tuning: one shared prompt, adapted to each task (Wang et al. 2023, arXiv 2303.02861).

A task's prompt is the elementwise product of the shared prompt and a low-rank matrix of the task. What all tasks have
in common is learned from all examples together, and a new task starts from there. peft initializes these matrices with
small random values, which erase the initial value of the shared prompt. Here they start at one, so every task starts
from the initial value. The paper's distillation from single-task prompts is left out, as in peft.
"""

from __future__ import annotations

import torch
from torch import nn

from softprompt.model import Placement, PromptEmbeddings
from softprompt.prompts.initializers import InitialValue
from softprompt.prompts.soft_prompt import SoftPrompt
from softprompt.tasks import LinearHead


class MultitaskPrompt(SoftPrompt):
    """A soft prompt with `[P, H]` shared parameters, and columns `[P, R]` and rows `[R, H]` for each of M tasks.

    Attributes:
        task_names: names of the tasks, in the order of their indices.
    """

    def __init__(
        self,
        init: InitialValue,
        task_names: tuple[str, ...],
        rank: int,
        placement: Placement,
        head: LinearHead | None,
        embedding_rms: float,
        generator: torch.Generator,
    ):
        """Take the shared initial value `[P, H]` and the RMS of the model's embeddings."""
        super().__init__(head)
        P, H = init.tensor.shape
        self.task_names, self.placement, self.embedding_rms = task_names, placement, embedding_rms
        self.shared = nn.Parameter(init.tensor.clone())
        # The first rank is a product of ones; every further rank is zero times noise.
        columns, rows = (
            torch.zeros(len(task_names), P, rank),
            torch.randn(len(task_names), rank, H, generator=generator),
        )
        columns[:, :, 0], rows[:, 0] = 1.0, 1.0
        self.columns, self.rows = nn.Parameter(columns), nn.Parameter(rows)

    def forward(self) -> PromptEmbeddings:
        """Return the embeddings for a new task, `[P, H]`: the shared prompt times the mean of the tasks' matrices."""
        return PromptEmbeddings(self.shared * (self.columns.mean(dim=0) @ self.rows.mean(dim=0)), self.placement)

    def payload_for(self, task_index: int) -> PromptEmbeddings:
        """Return the embeddings of a task, `[P, H]`."""
        return PromptEmbeddings(self.shared * (self.columns[task_index] @ self.rows[task_index]), self.placement)

    def param_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Return parameter groups: factors have scale 1, so their multiplier is 1 / the RMS of the embeddings."""
        heads = [] if self.head is None else [(list(self.head.parameters()), self.head_lr_multiplier)]
        return [([self.shared], 1.0), ([self.columns, self.rows], 1.0 / self.embedding_rms), *heads]
