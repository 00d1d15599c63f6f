"""How a task is put to somebody who only speaks, and what the replies are worth. Knows no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch

from softprompt.comparison.way import WRITTEN, WRITTEN_TOKENS, Measured
from softprompt.comparison.ways.api.labels import meant
from softprompt.data import Example
from softprompt.data.messages import CONTENT, ROLE, SYSTEM, USER
from softprompt.errors import RowError, TaskError
from softprompt.tasks import ChatTask, ClassificationTask, GenerationTask, Task
from softprompt.tasks.label_shares import scores_of, with_headline
from softprompt.tasks.metrics import accuracy, bleu, confusion, macro_f1, sentence_bleu
from softprompt.tasks.pieces import BLANK
from softprompt.tasks.template import Template

Conversation = tuple[tuple[str, str], ...]
"""Who said what so far: roles and texts."""

GAP = "_____"  # where a masked model has its blank


@runtime_checkable
class Spoken(Protocol):
    """A task in words: `Choosing` or `Writing`.

    Attributes:
        max_tokens: the most that a reply needs.
        most: how many examples are asked; None where it is all of them.
    """

    max_tokens: int
    most: int | None

    def conversation(self, example: Example) -> Conversation:
        """What is said about an example, up to where the reply begins."""

    def is_readable(self, reply: str) -> bool:
        """Whether a reply can be understood."""

    def measured(self, examples: Sequence[Example], replies: Sequence[str]) -> Measured:
        """What replies are worth."""


class Choosing:
    """A classification: which answers are allowed, and the filled template."""

    most: int | None = None

    def __init__(self, task: ClassificationTask):
        self.task = task
        self.words = [task.words.get(label, label) for label in task.labels]
        self.template = Template(task.template.replace(BLANK, GAP))
        self.lead = Template(task.template).tail
        self.max_tokens = 8 + max(len(word.encode()) for word in self.words)  # no token is less than a byte

    def conversation(self, example: Example) -> Conversation:
        """The allowed answers as the system's words, the filled template as the user's."""
        allowed = "\n".join(self.words)
        rule = f"Answer with exactly one of the following, word for word, and with nothing else:\n{allowed}"
        return (SYSTEM, rule), (USER, _filled(self.template, example))

    def is_readable(self, reply: str) -> bool:
        """Whether it says one of the labels."""
        return self._label(reply) is not None

    def measured(self, examples: Sequence[Example], replies: Sequence[str]) -> Measured:
        """Accuracy and macro F1, in which a reply that cannot be read is wrong, and the confusion of the others."""
        size, read = len(self.words), [self._label(reply) for reply in replies]
        right = torch.tensor([self.task.index(example) for example in examples])
        predicted = torch.tensor([size if label is None else label for label in read])
        readable = predicted < size
        figures = {"accuracy": accuracy(predicted, right), "macro_f1": _macro_f1(predicted, right, size)}
        return Measured(
            with_headline(figures, right, size),
            scores_of(predicted, right, size).tolist(),
            confusion(predicted[readable], right[readable], size).tolist(),
        )

    def _label(self, reply: str) -> int | None:
        return meant(reply, self.words, self.lead)


class Writing:
    """A generation or a chat: what stands in front of the right response."""

    max_tokens: int = WRITTEN_TOKENS
    most: int | None = WRITTEN

    def __init__(self, task: GenerationTask | ChatTask):
        self.task = task

    def conversation(self, example: Example) -> Conversation:
        """The filled template, or the messages up to the assistant's last."""
        if isinstance(self.task, ChatTask):
            return self._chat(self.task, example)[0]
        return ((USER, _filled(Template(self.task.template), example)),)

    def is_readable(self, reply: str) -> bool:
        """Whether there is anything."""
        return bool(reply.strip())

    def measured(self, examples: Sequence[Example], replies: Sequence[str]) -> Measured:
        """BLEU of all replies together, and of each by itself."""
        references = [self._references(example) for example in examples]
        each = [sentence_bleu(reply, right) for reply, right in zip(replies, references, strict=True)]
        return Measured({"bleu": bleu(replies, references)}, each)

    def _references(self, example: Example) -> list[str]:
        if isinstance(self.task, ChatTask):
            return [self._chat(self.task, example)[1]]
        return self.task.references(example)

    @staticmethod
    def _chat(task: ChatTask, example: Example) -> tuple[Conversation, str]:
        """What is said before the assistant's last message that is learnt, and that message."""
        before, answer = task.divided(example)
        if not before:
            raise RowError(example.where, "nobody says anything before the assistant, so there is nothing to answer")
        return tuple((message[ROLE], message[CONTENT]) for message in before), answer


def spoken(task: Task) -> Spoken:
    """A task in words.

    Raises:
        TaskError: it is not to be had in words.
    """
    match task:
        case ClassificationTask():
            return Choosing(task)
        case GenerationTask() | ChatTask():
            return Writing(task)
    raise TaskError(f"a {task.kind} is not asked of an API: leave api out of `ways`")


def _filled(template: Template, example: Example) -> str:
    return template.render({field: example.text(field) for field in template.fields})


def _macro_f1(predicted: torch.Tensor, right: torch.Tensor, size: int) -> float:
    """Macro F1 over the labels, where `size` in place of a label was not read: missed by its label, taken by none.

    Counted as a label of its own it has an F1 of zero, and takes its part of the mean, which is given back here.
    """
    found = len({*predicted.tolist(), *right.tolist()})
    share = (found - 1) / found if size in predicted.tolist() else 1.0
    return macro_f1(predicted, right, size + 1) / share
