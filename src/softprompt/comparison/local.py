"""A way that is ready to answer with a model that is here: what it measures, how it is served, what it forgot."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from softprompt.comparison.way import WRITTEN, WRITTEN_TOKENS, Course, Fitted, Measured, Serving
from softprompt.data import Example
from softprompt.evaluation.evaluating import responses
from softprompt.evaluation.generating import Sampling, generate
from softprompt.evaluation.measuring import measure, row_outputs
from softprompt.model import CausalModel, FrozenModel, Payload, Payloads
from softprompt.tasks import GenerationTask, Objective, Row
from softprompt.tasks.classification import ClassificationObjective
from softprompt.tasks.metrics import bleu, confusion
from softprompt.tasks.writing import WritingObjective

SERVED_ROWS, TIMED_ALONE = 32, 5
SERVED_TOKENS = 16
NEUTRAL_TOKENS = 256


@dataclass(frozen=True)
class FittedHere(Fitted):
    """A model, a task on it, and what its rows stand behind.

    Attributes:
        objective: the task on the model, as it was adapted.
        payload: compiled; None where nothing stands in front of the rows.
        mixes: whether rows of many tasks run in one pass.
    """

    objective: Objective
    payload: Payload | None = None
    trained_parameters: int = 0
    stored_bytes: int = 0
    removable: bool = True
    mixes: bool = False
    course: Course | None = None

    @torch.no_grad()
    def measured(self, examples: Sequence[Example]) -> Measured:
        """Figures of merit; of a task that writes, BLEU of the first responses as well."""
        rows = [self.objective.encode(example) for example in examples]
        outputs = row_outputs(self.objective, self.payload, rows)
        metrics, scores = self.objective.metrics(outputs, rows), self.objective.scores(outputs, rows)
        if isinstance(self.objective, WritingObjective):
            some = examples[:WRITTEN]
            texts = responses(self.objective, self.payload, some, at_most(WRITTEN_TOKENS, self.objective))
            metrics["bleu"] = bleu(texts, [self.objective.references(example) for example in some])
        if not isinstance(self.objective, ClassificationObjective):
            return Measured(metrics, scores)
        right = torch.tensor([row.label for row in rows])
        table = confusion(outputs.argmax(dim=1), right, len(self.objective.task.labels))
        return Measured(metrics, scores, table.tolist())

    @torch.no_grad()
    def neutral_loss(self, texts: Sequence[str]) -> float | None:
        """The loss per token of texts, each cut to its first tokens; causal models only."""
        return neutral_loss(self.objective.model, self.payload, texts)

    @torch.no_grad()
    def served(self, examples: Sequence[Example], tasks: int) -> Serving:
        """One task: one request alone, then a batch. Several: a request of each, as few passes as they need.

        Where rows of several tasks cannot run in one pass, each runs by itself; what changing the weights between them
        would cost is left out, so the figure flatters such ways.
        """
        rows = self._asked(examples)
        if tasks == 1:
            self._answer(rows, self.payload)  # what is made once is not timed
            alone = fmean(self._timed([row], self.payload) for row in rows[:TIMED_ALONE])
            return self._serving(alone, rows, self._timed(rows, self.payload))
        many = [rows[i % len(rows)] for i in range(tasks)]
        size = SERVED_ROWS if self.mixes else 1
        passes = [many[i : i + size] for i in range(0, tasks, size)]
        self._answer(passes[0], self._payloads(passes[0]))
        return self._passes(passes)

    def _passes(self, passes: Sequence[list[Row]]) -> Serving:
        """The rows of passes that run one after the other, all of which arrived at the beginning."""
        elapsed, waited = 0.0, 0.0
        for rows in passes:
            elapsed += self._timed(rows, self._payloads(rows))
            waited += elapsed * len(rows)
        every = [row for rows in passes for row in rows]
        return self._serving(waited / len(every), every, elapsed)

    def _serving(self, latency: float, rows: Sequence[Row], seconds: float) -> Serving:
        written = at_most(SERVED_TOKENS, self.objective).max_new_tokens if self._writes else 0
        tokens = sum(len(row) + written for row in rows)
        return Serving(latency, len(rows) / seconds, tokens / seconds)

    def _payloads(self, rows: Sequence[Row]) -> Payloads:
        """A payload for each row, as if each were another task's."""
        return self.payload if len(rows) == 1 else [self.payload] * len(rows)

    @property
    def _writes(self) -> bool:
        return isinstance(self.objective, WritingObjective)

    def _asked(self, examples: Sequence[Example]) -> list[Row]:
        some = examples[:SERVED_ROWS]
        if isinstance(self.objective, WritingObjective):
            most = at_most(SERVED_TOKENS, self.objective).max_new_tokens
            return [self.objective.encode_unanswered(example, most) for example in some]
        return [self.objective.encode(example) for example in some]

    def _timed(self, rows: list[Row], payloads: Payloads) -> float:
        started = time.perf_counter()
        self._answer(rows, payloads)
        return time.perf_counter() - started

    def _answer(self, rows: list[Row], payloads: Payloads) -> None:
        if isinstance(self.objective, WritingObjective):
            each = list(payloads) if isinstance(payloads, Sequence) else [payloads] * len(rows)
            generate(self.objective.model, rows, each, at_most(SERVED_TOKENS, self.objective))
        else:
            row_outputs(self.objective, payloads, rows)


@torch.no_grad()
def neutral_loss(model: FrozenModel, payload: Payload | None, texts: Sequence[str]) -> float | None:
    """The loss per token of texts behind a compiled payload, each cut to its first tokens; causal models only."""
    if not isinstance(model, CausalModel):
        return None
    room = model.shape.window - (0 if payload is None else payload.num_positions)
    rows = [model.row(model.tokenize(text, plain=True))[: min(NEUTRAL_TOKENS, room)] for text in texts]
    each = [Row(ids[:1], ids[1:]) for ids in rows if len(ids) > 1]
    return measure(GenerationTask().bind(model, room), payload, each)["loss"] if each else None


def at_most(tokens: int, objective: Any) -> Sampling:
    """Greedy responses of so many tokens, or fewer in a short window, most of which is the text's."""
    return Sampling(max_new_tokens=max(1, min(tokens, objective.room // 4)))
