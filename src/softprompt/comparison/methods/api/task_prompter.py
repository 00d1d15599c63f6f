"""Expresses tasks as conversations, and evaluates the replies. This module sends no requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch

from softprompt.comparison.methods.api.label_matcher import match_label
from softprompt.comparison.methods.fitted_model import GENERATION_MAX_TOKENS, GENERATION_SAMPLES, EvalResult
from softprompt.data import Example
from softprompt.data.formats.chat_messages import CONTENT, ROLE, SYSTEM, USER
from softprompt.errors import RecordError, TaskError
from softprompt.model_api.conversation import Conversation
from softprompt.tasks import ChatTask, ClassificationTask, GenerationTask, Task
from softprompt.tasks.metrics.label_metrics import (
    accuracy_score,
    confusion_matrix,
    macro_f1_score,
    put_headline_first,
    score_predictions,
)
from softprompt.tasks.metrics.text_metrics import corpus_bleu_score, sentence_bleu_score
from softprompt.tasks.templates.template import Template
from softprompt.tasks.templates.template_parser import MASK_MARKER

MASK_TEXT = "_____"  # in place of the mask of a masked model


@runtime_checkable
class TaskPrompter(Protocol):
    """A task as conversations: `ClassificationPrompter` or `GenerationPrompter`.

    Attributes:
        max_tokens: largest number of tokens of a reply.
        max_examples: largest number of examples to evaluate; None for all.
    """

    max_tokens: int
    max_examples: int | None

    def build_conversation(self, example: Example) -> Conversation:
        """Return the messages for an example."""

    def is_valid_reply(self, reply: str) -> bool:
        """Return whether a reply can be parsed."""

    def evaluate_replies(self, examples: Sequence[Example], replies: Sequence[str]) -> EvalResult:
        """Evaluate the replies."""


class ClassificationPrompter:
    """A classification task as conversations: the allowed answers and the filled template."""

    max_examples: int | None = None

    def __init__(self, task: ClassificationTask):
        self.task = task
        self.label_words = [task.words.get(label, label) for label in task.labels]
        self.template = Template(task.template.replace(MASK_MARKER, MASK_TEXT))
        self.prompt_tail = Template(task.template).text_before_answer
        self.max_tokens = 8 + max(len(word.encode()) for word in self.label_words)  # a token has at least one byte

    def build_conversation(self, example: Example) -> Conversation:
        """Return the allowed answers as the system message and the filled template as the user message."""
        allowed = "\n".join(self.label_words)
        rule = f"Answer with exactly one of the following, word for word, and with nothing else:\n{allowed}"
        return (SYSTEM, rule), (USER, _render_template(self.template, example))

    def is_valid_reply(self, reply: str) -> bool:
        """Return whether the reply names a label."""
        return self._match_label(reply) is not None

    def evaluate_replies(self, examples: Sequence[Example], replies: Sequence[str]) -> EvalResult:
        """Return accuracy and macro F1, where unreadable replies are wrong, and the confusion matrix of the others."""
        size, read = len(self.label_words), [self._match_label(reply) for reply in replies]
        right = torch.tensor([self.task.get_label_index(example) for example in examples])
        predicted = torch.tensor([size if label is None else label for label in read])
        readable = predicted < size
        metrics = {"accuracy": accuracy_score(predicted, right), "macro_f1": _compute_macro_f1(predicted, right, size)}
        return EvalResult(
            put_headline_first(metrics, right, size),
            score_predictions(predicted, right, size).tolist(),
            confusion_matrix(predicted[readable], right[readable], size).tolist(),
        )

    def _match_label(self, reply: str) -> int | None:
        return match_label(reply, self.label_words, self.prompt_tail)


class GenerationPrompter:
    """A generation or chat task as conversations: everything before the reference response."""

    max_tokens: int = GENERATION_MAX_TOKENS
    max_examples: int | None = GENERATION_SAMPLES

    def __init__(self, task: GenerationTask | ChatTask):
        self.task = task

    def build_conversation(self, example: Example) -> Conversation:
        """Return the filled template, or the messages before the last assistant message."""
        if isinstance(self.task, ChatTask):
            return self._split_chat(self.task, example)[0]
        return ((USER, _render_template(Template(self.task.template), example)),)

    def is_valid_reply(self, reply: str) -> bool:
        """Return whether the reply is not blank."""
        return bool(reply.strip())

    def evaluate_replies(self, examples: Sequence[Example], replies: Sequence[str]) -> EvalResult:
        """Return the corpus BLEU, and the sentence BLEU of each reply as its score."""
        references = [self._get_references(example) for example in examples]
        scores = [sentence_bleu_score(reply, right) for reply, right in zip(replies, references, strict=True)]
        return EvalResult({"bleu": corpus_bleu_score(replies, references)}, scores)

    def _get_references(self, example: Example) -> list[str]:
        if isinstance(self.task, ChatTask):
            return [self._split_chat(self.task, example)[1]]
        return self.task.get_references(example)

    @staticmethod
    def _split_chat(task: ChatTask, example: Example) -> tuple[Conversation, str]:
        """Return the messages before the last supervised assistant message, and that message."""
        before, answer = task.split_last_answer(example)
        if not before:
            raise RecordError(example.location, "no message comes before the assistant's: add a user message")
        return tuple((message[ROLE], message[CONTENT]) for message in before), answer


def create_prompter(task: Task) -> TaskPrompter:
    """Return the prompter of a task.

    Raises:
        TaskError: the task cannot be expressed as a conversation.
    """
    match task:
        case ClassificationTask():
            return ClassificationPrompter(task)
        case GenerationTask() | ChatTask():
            return GenerationPrompter(task)
    raise TaskError(f"{task.kind} is not supported with an API: remove api from `methods`")


def _render_template(template: Template, example: Example) -> str:
    return template.render_text({field: example.get_text(field) for field in template.field_names})


def _compute_macro_f1(predicted: torch.Tensor, targets: torch.Tensor, num_labels: int) -> float:
    """Return the macro F1 over the labels, where the prediction `num_labels` means an unreadable reply.

    Unreadable replies would count as a further label with an F1 of zero in the mean; the result is corrected for that.
    """
    num_classes = len({*predicted.tolist(), *targets.tolist()})
    share = (num_classes - 1) / num_classes if num_labels in predicted.tolist() else 1.0
    return macro_f1_score(predicted, targets, num_labels + 1) / share
