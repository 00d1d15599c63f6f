"""Ensembles of prompts: classification by the mean of their probabilities, or by vote.

Prompts trained with other seeds or initializers err on other texts. All prompts run in one batch, in which each example
occurs once for each prompt (prompt ensembling: Lester et al. 2021, section 6).
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
from softprompt.saved.objective_check import require_objective
from softprompt.tasks import EncodedExample
from softprompt.tasks.classification_task import ClassificationObjective


def _average_probabilities(probabilities: Float[Tensor, "N k K"]) -> Float[Tensor, "N K"]:
    return probabilities.mean(dim=1)


def _count_votes(probabilities: Float[Tensor, "N k K"]) -> Float[Tensor, "N K"]:
    """Return each label's share of the votes; ties are broken by the mean probability."""
    votes = torch.nn.functional.one_hot(probabilities.argmax(dim=2), probabilities.shape[2]).double().mean(dim=1)
    weighted = votes + 1e-6 * probabilities.double().mean(dim=1)
    return (weighted / weighted.sum(dim=1, keepdim=True)).float()


COMBINERS: dict[str, Callable[[Tensor], Tensor]] = {"mean": _average_probabilities, "vote": _count_votes}


@dataclass(frozen=True)
class PromptEnsemble:
    """Ensemble of k prompts for one task and one model; k may be 1.

    Attributes:
        objectives: each prompt's task bound to the model, with its own label scorer; the first encodes the examples.
        payloads: compiled payloads of the prompts.
        combine: combines probabilities, `[N, k, K]` to `[N, K]`.
    """

    objectives: list[ClassificationObjective]
    payloads: list[Payload]
    combine: Callable[[Tensor], Tensor]

    @classmethod
    def from_prompts(cls, model: FrozenModel, prompts: Sequence[SavedPrompt], combine: str = "mean") -> PromptEnsemble:
        """Build an ensemble of saved prompts for one task.

        Raises:
            SettingError: `combine` is unknown, or there is no prompt.
            TaskError: a prompt does not classify, or the prompts have different templates or labels.
            BaseModelMismatch: a prompt belongs to another model.
        """
        if combine not in COMBINERS:
            raise SettingError(f"unknown `combine={combine!r}`: choose one of {', '.join(COMBINERS)}")
        if not prompts:
            raise SettingError("there is no prompt to classify with: pass at least one")
        first = prompts[0].manifest.task
        for prompt in prompts:
            if prompt.manifest.task != first or (prompt.head is None) != (prompts[0].head is None):
                raise TaskError(
                    "the prompts of an ensemble need the same template, labels, verbalizer and kind of head"
                )
        payloads = [prompt.compile_for(model) for prompt in prompts]
        longest = max(payloads, key=lambda payload: payload.num_positions)
        objectives = [  # every example must fit with each prompt
            require_objective(prompt, model, longest, ClassificationObjective, "classify texts") for prompt in prompts
        ]
        return cls(objectives, payloads, COMBINERS[combine])

    @property
    def objective(self) -> ClassificationObjective:
        """Task bound to the model, with the label scorer of the first prompt."""
        return self.objectives[0]

    @torch.no_grad()
    def compute_log_probabilities(
        self, examples: Sequence[EncodedExample], batch_size: int = 32, on_progress: Callable[[int], None] | None = None
    ) -> Float[Tensor, "N K"]:
        """Return the log-probabilities of each example's labels, on the CPU.

        Args:
            examples: encoded examples.
            batch_size: maximum number of sequences in a batch; an example takes one sequence for each prompt.
            on_progress: called with the number of finished examples.
        """
        if not examples:
            return torch.empty(0, len(self.objective.task.labels))
        order = sorted(range(len(examples)), key=lambda i: len(examples[i]))
        examples_per_batch = max(1, batch_size // len(self.payloads))
        batches = []
        for start in range(0, len(order), examples_per_batch):
            batches.append(
                self._compute_probabilities([examples[i] for i in order[start : start + examples_per_batch]])
            )
            if on_progress is not None:
                on_progress(start + len(batches[-1]))
        return self.combine(torch.cat(batches)).log()[torch.tensor(order).argsort()]

    def _compute_probabilities(self, examples: list[EncodedExample]) -> Float[Tensor, "N k K"]:
        """Run each example once with each prompt, in one batch."""
        payloads = self.payloads * len(examples)
        batch = self.objective.collate([example for example in examples for _ in self.payloads], payloads)
        hidden = self.objective.forward_batch(batch, payloads)
        states = hidden.unflatten(0, (len(examples), len(self.payloads), -1))
        model = self.objective.model
        log_probs = [o.label_scorer.compute_log_probs(model, states[:, k]) for k, o in enumerate(self.objectives)]
        return torch.stack(log_probs, dim=1).exp().cpu()
