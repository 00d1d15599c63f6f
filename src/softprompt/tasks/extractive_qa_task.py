"""Extractive question answering: a trained head finds the first and the last token of the answer in a context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from softprompt.data import Example
from softprompt.data.example import missing_field_message
from softprompt.data.formats.squad_fields import ANSWER_FIELDS, CONTEXT_FIELD, normalize_squad_fields
from softprompt.errors import RecordError
from softprompt.model import FrozenModel
from softprompt.tasks.collation import Batch
from softprompt.tasks.encoded_example import AlignedExample, EncodedExample, SpanTarget, get_alignment, get_supervision
from softprompt.tasks.label_scorers.linear_head import LinearHead
from softprompt.tasks.metrics.squad_metrics import exact_match_score, token_f1_score
from softprompt.tasks.templates.template import Template
from softprompt.tasks.templates.token_alignment import encode_with_alignment, require_field_once
from softprompt.tasks.token_head_objective import TokenHeadObjective, pad_by_example

MAX_ANSWER_TOKENS = 30  # tokens, as in SQuAD's reference scripts

TRUNCATED_TARGET = (-1, -1)  # in a batch, for an answer that truncation removed


class ExtractiveQATask(BaseModel):
    """A task with a question and a context as input and a span of the context as output.

    The right answers are in the field `answers`, as SQuAD has them, or in `answer`.

    Attributes:
        template: text of the template.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["extraction"] = "extraction"
    template: str = "{question}\n{context}"

    def build_init_text(self, model: FrozenModel, examples: Sequence[Example], max_length: int) -> str:  # noqa: ARG002
        """Return the text that virtual tokens are initialized from: a description of the task."""
        return "Read the question and the text, and find the part of the text that answers the question.\n\n"

    @property
    def labels(self) -> tuple[str, ...]:
        """The outputs of the head for each token, in the order of the rows of its weights."""
        return ("start", "end")

    def prepare(self, examples: Sequence[Example]) -> ExtractiveQATask:
        """Return the task unchanged, after checking that every example has an answer in its context.

        Raises:
            TaskError: the template does not contain the context exactly once.
            RecordError: an example has no valid answer.
        """
        require_field_once(Template(self.template), CONTEXT_FIELD)
        for example in examples:
            self.get_answers(example)
        return self

    def get_answers(self, example: Example) -> dict[str, list[str] | list[int]]:
        """Return the right answers as `text` and `answer_start`.

        Raises:
            RecordError: there is no answer, or an answer is not in the context.
        """
        for names in ((CONTEXT_FIELD,), ANSWER_FIELDS):
            if not any(name in example.fields for name in names):
                raise RecordError(example.location, missing_field_message(names, example.fields))
        answers: dict[str, list[str] | list[int]] = normalize_squad_fields(example.fields, example.location)["answers"]
        return answers

    def build_objective(
        self, model: FrozenModel, max_length: int, head: LinearHead | None = None
    ) -> ExtractiveQAObjective:
        """Bind the task to a model.

        Args:
            model: the frozen base model.
            max_length: positions available for one example, in tokens.
            head: trained head; required.

        Raises:
            TaskError: there is no head, the model is an encoder-decoder, or the template does not fit the model.
        """
        return ExtractiveQAObjective(model, self, max_length, head)


class ExtractiveQAObjective(TokenHeadObjective):
    """The mean of two cross-entropies over the tokens of the context: the answer's first token and its last token.

    Raises:
        TaskError: see `TokenHeadObjective`.
    """

    task: ExtractiveQATask

    def __init__(self, model: FrozenModel, task: ExtractiveQATask, max_length: int, head: LinearHead | None):
        super().__init__(model, Template(task.template), max_length, head)
        self.task = task

    def encode_example(self, example: Example) -> EncodedExample:
        """Encode the filled template, with the first answer's first and last token unless they were truncated."""
        answers = self.task.get_answers(example)
        encoded_example = self.encode_question(example)
        text, start = str(answers["text"][0]), int(answers["answer_start"][0])
        token_span = get_alignment(encoded_example).find_token_span((start, start + len(text)))
        return replace(encoded_example, supervision=SpanTarget(tuple(map(str, answers["text"])), token_span))

    def encode_question(self, example: Example) -> EncodedExample:
        """Encode the filled template of an example that needs no answer. A long context is truncated at its end.

        Raises:
            RecordError: the question leaves no space for the context.
        """
        text = example.get_text(CONTEXT_FIELD)
        token_ids, alignment = encode_with_alignment(
            self.template, self.model, example, CONTEXT_FIELD, text, self.max_length
        )
        return AlignedExample(token_ids, is_truncated=len(alignment.text) < len(text), alignment=alignment)

    def get_batch_targets(self, example: EncodedExample) -> Sequence[int]:
        """Return the first and last token of the answer, counted in the context."""
        target = example.supervision
        return (target.token_span if isinstance(target, SpanTarget) else None) or TRUNCATED_TARGET

    def get_example_weight(self, example: EncodedExample) -> int:  # noqa: ARG002
        """Return 1: all examples count equally."""
        return 1

    def compute_log_probs(self, hidden_states: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B W 2"]:
        """Return log-probabilities of each context token to be the answer's first and last token; -inf at padding."""
        return pad_by_example(self.head.compute_logits(hidden_states), batch, padding=-torch.inf).log_softmax(dim=1)

    def compute_losses(self, hidden_states: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B"]:
        """Return the mean loss of the answer's first and last token; zero if truncation removed the answer."""
        return self._compute_span_losses(self.compute_log_probs(hidden_states, batch), batch)

    def _compute_span_losses(self, log_probs: Float[Tensor, "B W 2"], batch: Batch) -> Float[Tensor, "B"]:
        targets = batch.targets.view(-1, 1, 2)
        losses = -log_probs.gather(1, targets.clamp(min=0)).mean(dim=(1, 2))
        return torch.where(targets[:, 0, 0] >= 0, losses, 0.0)

    def compute_outputs(self, hidden_states: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B 4"]:
        """Return first and last token of the best span, its log-probability, and the loss."""
        log_probs = self.compute_log_probs(hidden_states, batch)
        starts, ends, span_log_probs = find_best_spans(log_probs)
        return torch.stack(
            [starts.float(), ends.float(), span_log_probs, self._compute_span_losses(log_probs, batch)], dim=1
        )

    def compute_metrics(self, outputs: Float[Tensor, "N 4"], examples: Sequence[EncodedExample]) -> dict[str, float]:
        """Compute word F1, exact match, and the mean loss of examples whose answer was not truncated."""
        answers = [self.decode_answer(output, example) for output, example in zip(outputs, examples, strict=True)]
        pairs = [
            (answer, get_supervision(example, SpanTarget).references)
            for answer, example in zip(answers, examples, strict=True)
        ]
        return {
            "f1": sum(token_f1_score(*pair) for pair in pairs) / len(pairs),
            "exact_match": sum(exact_match_score(*pair) for pair in pairs) / len(pairs),
            "loss": float(outputs[:, 3].double().sum())
            / max(1, sum(not example.is_target_truncated for example in examples)),
        }

    def score_examples(self, outputs: Float[Tensor, "N 4"], examples: Sequence[EncodedExample]) -> list[float]:
        """Return the word F1 of each example's answer."""
        pairs = [
            (self.decode_answer(output, example), get_supervision(example, SpanTarget).references)
            for output, example in zip(outputs, examples, strict=True)
        ]
        return [token_f1_score(*pair) for pair in pairs]

    def decode_answer(self, output: Float[Tensor, "4"], example: EncodedExample) -> str:
        """Return the text of an example's best span."""
        alignment = get_alignment(example)
        start, end = alignment.get_char_span(int(output[0]), int(output[1]))
        return alignment.text[start:end]

    def selection_key(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """Return F1; a lower loss breaks ties."""
        return metrics["f1"], -metrics["loss"]


def find_best_spans(
    log_probs: Float[Tensor, "B W 2"], max_answer_tokens: int = MAX_ANSWER_TOKENS
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the most probable first and last token of each example, and their log-probability.

    The last token is not before the first, and no span has more than `max_answer_tokens` tokens.
    """
    starts, ends = log_probs.unbind(dim=2)
    reach = torch.nn.functional.pad(ends, (0, max_answer_tokens - 1), value=-torch.inf).unfold(
        1, max_answer_tokens, 1
    )  # [B, W, max_answer_tokens]
    best, flat_index = (starts.unsqueeze(2) + reach).flatten(1).max(dim=1)
    first = flat_index // max_answer_tokens
    return first, first + flat_index % max_answer_tokens, best
