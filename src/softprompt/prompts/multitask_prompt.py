"""Multitask prompt tuning: one prompt for all tasks, bent a little for each (Wang et al. 2023, arXiv 2303.02861).

A task's prompt is the shared one, element by element times a matrix of low rank that is the task's own. What tasks have
in common is learnt from all their examples together, and a new task starts from there. peft starts these matrices at
random near zero, which wipes out the shared prompt's start; here they start at one, so that every task begins with the
words the shared prompt says. The paper's distillation from prompts of single tasks is left out, as in peft.
"""

from __future__ import annotations

import torch
from torch import nn

from softprompt.model import Embeddings, Placement
from softprompt.prompts.initial import Start
from softprompt.prompts.soft_prompt import SoftPrompt
from softprompt.tasks import LinearHead


class MultitaskPrompt(SoftPrompt):
    """`[P, H]` shared parameters, and for each of M tasks columns `[P, R]` and rows `[R, H]`.

    Attributes:
        tasks: the tasks' names, in the order of their indices.
    """

    def __init__(
        self,
        start: Start,
        tasks: tuple[str, ...],
        rank: int,
        placement: Placement,
        head: LinearHead | None,
        scale: float,
        generator: torch.Generator,
    ):
        """Take the shared start `[P, H]` and the scale that embeddings have in the model."""
        super().__init__(head)
        P, H = start.tensor.shape
        self.tasks, self.placement, self.scale = tasks, placement, scale
        self.shared = nn.Parameter(start.tensor.clone())
        # A column of ones times a row of ones, and nothing times noise for every rank beyond the first.
        columns, rows = torch.zeros(len(tasks), P, rank), torch.randn(len(tasks), rank, H, generator=generator)
        columns[:, :, 0], rows[:, 0] = 1.0, 1.0
        self.columns, self.rows = nn.Parameter(columns), nn.Parameter(rows)

    def forward(self) -> Embeddings:
        """What a task that nobody has seen starts from, `[P, H]`: the shared prompt, bent as tasks are on average."""
        return Embeddings(self.shared * (self.columns.mean(dim=0) @ self.rows.mean(dim=0)), self.placement)

    def of(self, task: int) -> Embeddings:
        """The embeddings of a task, `[P, H]`."""
        return Embeddings(self.shared * (self.columns[task] @ self.rows[task]), self.placement)

    def rates(self) -> list[tuple[list[nn.Parameter], float]]:
        """The factors move as far beside their scale, which is one, as the shared prompt beside the embeddings'."""
        heads = [] if self.head is None else [(list(self.head.parameters()), self.head_rate)]
        return [([self.shared], 1.0), ([self.columns, self.rows], 1.0 / self.scale), *heads]
