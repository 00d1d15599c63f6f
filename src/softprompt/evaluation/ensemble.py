"""Several prompts that answer one question together: by the mean of their probabilities, or by vote.

Trained from other seeds or starts, prompts err on other texts. All of them go through the model in one batch, each row
once behind each prompt (Lester et al. 2021, section 6, call it prompt ensembling).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.errors import SettingError, TaskError
from softprompt.model import FrozenModel, Payload
from softprompt.saved import SavedPrompt
from softprompt.tasks import Row
from softprompt.tasks.classification import ClassificationObjective
from softprompt.tasks.task import ASKED_WITH


def _mean(probabilities: Float[Tensor, "N k K"]) -> Float[Tensor, "N K"]:
    return probabilities.mean(dim=1)


def _vote(probabilities: Float[Tensor, "N k K"]) -> Float[Tensor, "N K"]:
    """Each label's share of the votes; the mean probability breaks ties, too small to do more."""
    votes = torch.nn.functional.one_hot(probabilities.argmax(dim=2), probabilities.shape[2]).double().mean(dim=1)
    shares = votes + 1e-6 * probabilities.double().mean(dim=1)
    return (shares / shares.sum(dim=1, keepdim=True)).float()


COMBINED_BY: dict[str, Callable[[Tensor], Tensor]] = {"mean": _mean, "vote": _vote}


@dataclass(frozen=True)
class Ensemble:
    """k prompts bound to one model; one alone is an ensemble too.

    Attributes:
        objectives: their tasks on the model, each with its own reader; rows are encoded by the first.
        payloads: what they are to the model, compiled.
        combined: from probabilities `[N, k, K]` to `[N, K]`.
    """

    objectives: list[ClassificationObjective]
    payloads: list[Payload]
    combined: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, model: FrozenModel, prompts: Sequence[SavedPrompt], by: str = "mean") -> Ensemble:
        """Saved prompts for one task, together.

        Raises:
            SettingError: no such way to combine them, or no prompt.
            TaskError: one does not classify, or they are not for the same template and labels.
            WrongBaseModel: one is for another model.
        """
        if by not in COMBINED_BY:
            raise SettingError(f"unknown way to combine prompts {by!r}: one of {', '.join(COMBINED_BY)}")
        if not prompts:
            raise SettingError("there is no prompt to answer with: give one or several")
        first = prompts[0].manifest.task
        for prompt in prompts:
            if prompt.manifest.task != first or (prompt.head is None) != (prompts[0].head is None):
                raise TaskError(
                    "prompts that answer together need the same template, labels, verbalizer and kind of head"
                )
        payloads = [prompt.bound(model) for prompt in prompts]
        longest = max(payloads, key=lambda payload: payload.num_positions)
        objectives = [prompt.objective(model, longest) for prompt in prompts]  # every row must fit behind each
        classifying = [each for each in objectives if isinstance(each, ClassificationObjective)]
        if len(classifying) < len(objectives):
            raise TaskError(f"this prompt knows no labels of whole texts: use softprompt {ASKED_WITH[first.kind]}")
        return cls(classifying, payloads, COMBINED_BY[by])

    @property
    def objective(self) -> ClassificationObjective:
        """The task, as the first prompt reads it."""
        return self.objectives[0]

    @torch.no_grad()
    def outputs(
        self, rows: Sequence[Row], batch_size: int = 32, on_progress: Callable[[int], None] | None = None
    ) -> Float[Tensor, "N K"]:
        """Log-probabilities of each row's labels, on the CPU; `on_progress` gets how many rows are done."""
        if not rows:
            return torch.empty(0, len(self.objective.task.labels))
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        together = max(1, batch_size // len(self.payloads))
        parts = []
        for start in range(0, len(order), together):
            parts.append(self._probabilities([rows[i] for i in order[start : start + together]]))
            if on_progress is not None:
                on_progress(start + len(parts[-1]))
        return self.combined(torch.cat(parts)).log()[torch.tensor(order).argsort()]

    def _probabilities(self, rows: list[Row]) -> Float[Tensor, "N k K"]:
        """Each row once behind each prompt, in one batch."""
        payloads = self.payloads * len(rows)
        batch = self.objective.collate([row for row in rows for _ in self.payloads], payloads)
        hidden = self.objective.read(batch, payloads)
        states = hidden.unflatten(0, (len(rows), len(self.payloads), -1))
        model = self.objective.model
        each = [o.reader.log_probabilities(model, states[:, k]) for k, o in enumerate(self.objectives)]
        return torch.stack(each, dim=1).exp().cpu()
