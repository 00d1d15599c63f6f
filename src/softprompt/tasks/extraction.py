"""Answer a question with a part of a text. A trained head finds the tokens where it begins and where it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from softprompt.data import Example
from softprompt.data.answers import ANSWERED, CONTEXT, answered_fields
from softprompt.errors import RowError
from softprompt.model import FrozenModel
from softprompt.tasks.linear_head import LinearHead
from softprompt.tasks.objective import Batch, Row
from softprompt.tasks.overlap import exact_match, overlap_f1
from softprompt.tasks.passage import check_located, located
from softprompt.tasks.reading import ReadingObjective, by_row
from softprompt.tasks.template import Template

LONGEST_ANSWER = 30  # tokens, as in the field's own scripts

NO_ANSWER = (-1, -1)  # in a batch, where a row's answer was cut away


class ExtractionTask(BaseModel):
    """A question and a text in, a part of the text out.

    The text is the field `context`, and the right answers stand in `answers`, as SQuAD writes them, or in `answer`.

    Attributes:
        template: what the model sees.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["extraction"] = "extraction"
    template: str = "{question}\n{context}"

    def start_text(self, model: FrozenModel, examples: Sequence[Example], room: int) -> str:  # noqa: ARG002
        """What the virtual tokens say before they are trained: the task in words."""
        return "Read the question and the text, and find the part of the text that answers the question.\n\n"

    @property
    def labels(self) -> tuple[str, ...]:
        """What the head says of a token, a row of its weights each."""
        return ("start", "end")

    def prepared(self, examples: Sequence[Example]) -> ExtractionTask:
        """The task as it is; every example must have an answer in its context.

        Raises:
            TaskError: the template has no place for the context.
            RowError: an example has none.
        """
        check_located(Template(self.template), CONTEXT)
        for example in examples:
            self.answers(example)
        return self

    def answers(self, example: Example) -> dict[str, list[str] | list[int]]:
        """The right answers, `text` and `answer_start`.

        Raises:
            RowError: there is none, or one does not stand in the context.
        """
        for names in ((CONTEXT,), ANSWERED):
            if not any(name in example.fields for name in names):
                fields = ", ".join(example.fields)
                raise RowError(example.where, f"no field {' or '.join(map(repr, names))}; its fields are {fields}")
        answers: dict[str, list[str] | list[int]] = answered_fields(example.fields, example.where)["answers"]
        return answers

    def bind(self, model: FrozenModel, room: int, head: LinearHead | None = None) -> ExtractionObjective:
        """The task on a model that leaves `room` positions for a row, read by a trained head.

        Raises:
            TaskError: there is no head, the model is an encoder-decoder, or the template does not suit it.
        """
        return ExtractionObjective(model, self, room, head)


class ExtractionObjective(ReadingObjective):
    """The mean of two cross-entropies over the text's tokens: where the answer begins, and where it ends.

    Raises:
        TaskError: see `ReadingObjective`.
    """

    def __init__(self, model: FrozenModel, task: ExtractionTask, room: int, head: LinearHead | None):
        super().__init__(model, Template(task.template), room, head)
        self.task = task

    def encode(self, example: Example) -> Row:
        """The filled template, and the first answer's first and last token, where it was not cut away."""
        answers = self.task.answers(example)
        row = self.encode_question(example)
        assert row.passage is not None
        text, start = str(answers["text"][0]), int(answers["answer_start"][0])
        covered = row.passage.covering((start, start + len(text)))
        return replace(row, targets=covered or (), answers=tuple(map(str, answers["text"])), lost=covered is None)

    def encode_question(self, example: Example) -> Row:
        """The filled template of an example that needs no answer. Of a text that does not fit, the end is cut.

        Raises:
            RowError: the question leaves no room.
        """
        text = example.text(CONTEXT)
        ids, passage = located(self.template, self.model, example, CONTEXT, text, self.room)
        return Row(ids, [], cut=len(passage.text) < len(text), passage=passage)

    def targets_of(self, row: Row) -> Sequence[int]:
        """The answer's first and last token, counted in the text."""
        return row.targets or NO_ANSWER

    def weight_of(self, row: Row) -> int:  # noqa: ARG002
        """Each row counts alike."""
        return 1

    def log_probabilities(self, hidden: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B W 2"]:
        """Log-probabilities of each token of a row's text to be the answer's first, and its last; -inf at padding."""
        return by_row(self.head.scores(hidden), batch, padding=-torch.inf).log_softmax(dim=1)

    def losses(self, hidden: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B"]:
        """The mean over the answer's first and last token; zero where it was cut away."""
        return self._losses(self.log_probabilities(hidden, batch), batch)

    def _losses(self, found: Float[Tensor, "B W 2"], batch: Batch) -> Float[Tensor, "B"]:
        targets = batch.targets.view(-1, 1, 2)
        each = -found.gather(1, targets.clamp(min=0)).mean(dim=(1, 2))
        return torch.where(targets[:, 0, 0] >= 0, each, 0.0)

    def outputs(self, hidden: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B 4"]:
        """The best answer's first and last token, its log-probability, and the loss."""
        found = self.log_probabilities(hidden, batch)
        first, last, best = best_spans(found)
        return torch.stack([first.float(), last.float(), best, self._losses(found, batch)], dim=1)

    def metrics(self, outputs: Float[Tensor, "N 4"], rows: Sequence[Row]) -> dict[str, float]:
        """F1 of the answers' words, the share that is exactly right, and the mean loss where the answer was not cut."""
        answers = [self.answer(output, row) for output, row in zip(outputs, rows, strict=True)]
        pairs = [(answer, row.answers) for answer, row in zip(answers, rows, strict=True)]
        return {
            "f1": sum(overlap_f1(*pair) for pair in pairs) / len(pairs),
            "exact_match": sum(exact_match(*pair) for pair in pairs) / len(pairs),
            "loss": float(outputs[:, 3].double().sum()) / max(1, sum(not row.lost for row in rows)),
        }

    def scores(self, outputs: Float[Tensor, "N 4"], rows: Sequence[Row]) -> list[float]:
        """Of each row the F1 of its answer's words."""
        pairs = [(self.answer(output, row), row.answers) for output, row in zip(outputs, rows, strict=True)]
        return [overlap_f1(*pair) for pair in pairs]

    def answer(self, output: Float[Tensor, "4"], row: Row) -> str:
        """The text of a row's best answer."""
        assert row.passage is not None
        start, end = row.passage.said(int(output[0]), int(output[1]))
        return row.passage.text[start:end]

    def quality(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """F1; among equals, the lower loss."""
        return metrics["f1"], -metrics["loss"]


def best_spans(found: Float[Tensor, "B W 2"], longest: int = LONGEST_ANSWER) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row the most probable first and last token and their log-probability: the last no earlier than the first.

    No answer has more than `longest` tokens.
    """
    starts, ends = found.unbind(dim=2)
    reach = torch.nn.functional.pad(ends, (0, longest - 1), value=-torch.inf).unfold(1, longest, 1)  # [B, W, longest]
    best, at = (starts.unsqueeze(2) + reach).flatten(1).max(dim=1)
    first = at // longest
    return first, first + at % longest, best
