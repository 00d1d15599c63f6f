"""Choose one of K labels: a template, and a way to read the label where the template ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from softprompt.data import Example
from softprompt.errors import RowError, TaskError
from softprompt.model import FrozenModel, MaskedModel, Payloads
from softprompt.quoting import join_list
from softprompt.tasks.cloze import ClozeVerbalizer
from softprompt.tasks.demonstrations import BLANK_LINE, Demonstration, Demonstrations, fitting
from softprompt.tasks.label_shares import MAJORITY, never_answered, scores_of, with_headline
from softprompt.tasks.label_words import check_apart, check_readable, warn_of_several
from softprompt.tasks.labels import label_of, look_alike, warn_of_look_alikes
from softprompt.tasks.metrics import accuracy, macro_f1
from softprompt.tasks.objective import Batch, Objective, Row, arranged, padded, payload_of
from softprompt.tasks.template import Template, end_of, joined
from softprompt.tasks.verbalizer import Verbalizer

SHOWN_FROM = 500  # examples of each label among which some are looked for to start from
NAMED = 20  # labels that a message names
CONTEXT = 1000  # characters of the template in front of a label that say how it is put in tokens
SHOWN_TOKENS = 50  # with room for more, more examples are shown and not longer ones: benchmarks/results/tried.md


@runtime_checkable
class Reader(Protocol):
    """How a label is read: `Verbalizer`, `ClozeVerbalizer` or `LinearHead`.

    Attributes:
        answer_begins: where the first state to read stands, counted from the end of a row's prompt.
    """

    answer_begins: int

    @property
    def paths(self) -> Sequence[tuple[int, ...]]:
        """Token sequences to append to a row, one sequence of the batch each."""

    @property
    def nodes(self) -> Sequence[tuple[int, int]]:
        """The states to read: which path, and behind how many of its tokens."""

    @property
    def extra_tokens(self) -> int:
        """How many tokens a row may grow by to be read."""

    def split(self, model: FrozenModel, ids: list[int]) -> tuple[list[int], list[int]]:
        """A row's ids in front of the answer and behind it."""

    def log_probabilities(self, model: FrozenModel, states: Float[Tensor, "B N H"]) -> Float[Tensor, "B K"]:
        """Log-probabilities of the K labels."""


class ClassificationTask(BaseModel):
    """Text in, one of the labels out.

    Attributes:
        template: what the model sees; the label comes behind it.
        labels: as the data writes them, in the order of their indices.
        words: the verbalizer: what the model would say for a label, where that is not the label itself.
        label_field: the field with the right label.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["classification"] = "classification"
    template: str = "{text}\nLabel:"
    labels: tuple[str, ...] = Field(default=())
    words: Mapping[str, str] = Field(default_factory=dict)
    label_field: str = "label"

    def start_text(self, model: FrozenModel, examples: Sequence[Example], room: int) -> str:
        """What the virtual tokens say before they are trained, in at most `room` tokens where it can be.

        Examples of each label in turn, as many as have `SHOWN_TOKENS` each, and at least one; else the task in words.
        """
        shown = self._shown(model, examples) if room > len(self.labels) else [[]] * len(self.labels)
        for each in range(max(1, room // (len(self.labels) * SHOWN_TOKENS)), 0, -1):
            share = room // (len(self.labels) * each)
            for size in (share, share - 1):  # joined, texts may take a token more than apart
                fit = [[text for text, length in texts if length <= size][:each] for texts in shown]
                text = "".join(text for turn in zip(*fit, strict=False) for text in turn)
                if all(len(texts) == each for texts in fit) and len(model.tokenize(text)) <= room:
                    return text
        *others, last = (self.words.get(label, label) for label in self.labels)
        return f"Read the text and decide which of these it is: {', '.join(others)} or {last}.\n\n"

    def demonstrations(self, model: FrozenModel, examples: Sequence[Example], room: int) -> Demonstrations:
        """As many different examples with their answers as fit in `room` tokens, one of each label in turn.

        Raises:
            SettingError: not one of each label fits.
        """
        template, groups = Template(self.template), []
        for index, labelled in enumerate(self._labelled(examples)):
            said, end = self._said_and_ended(model, index)
            groups.append([Demonstration(template.filled(model, example), said, end) for example in labelled])
        return fitting(groups, room)

    def demonstration(self, model: FrozenModel, example: Example) -> Demonstration:
        """An example with its answer, in tokens.

        Raises:
            RowError: its label is none of the task's.
        """
        said, end = self._said_and_ended(model, self.index(example))
        return Demonstration(Template(self.template).filled(model, example), said, end)

    def _said_and_ended(self, model: FrozenModel, label: int) -> tuple[list[int], list[int]]:
        """The ids of a label's answer in its place, and of the blank line behind it."""
        answer = self._answers(self.labels[label])[0]
        return self._said(model, [answer])[0], model.continuation(answer, BLANK_LINE)

    def _shown(self, model: FrozenModel, examples: Sequence[Example]) -> list[list[tuple[str, int]]]:
        """Of each label, examples as the model sees them, answers and all, and each one's tokens; the longest first."""
        template = Template(self.template)
        shown = []
        for answer, labelled in zip(self._answers(*self.labels), self._labelled(examples), strict=True):
            texts = dict.fromkeys(
                template.render({field: example.text(field) for field in template.fields}) + answer + BLANK_LINE
                for example in labelled
            )
            sizes = [(text, len(model.tokenize(text))) for text in texts]
            shown.append(sorted(sizes, key=lambda each: each[1], reverse=True))
        return shown

    def _labelled(self, examples: Sequence[Example]) -> list[list[Example]]:
        """For each label, the examples among which some are looked for to start from; found in one walk."""
        groups: dict[str, list[Example]] = {label: [] for label in self.labels}
        for example in examples:
            group = groups.get(label_of(example, self.label_field))
            if group is not None and len(group) < SHOWN_FROM:
                group.append(example)
        return [groups[label] for label in self.labels]

    def prepared(self, examples: Sequence[Example]) -> ClassificationTask:
        """The task with its labels, taken from the examples in alphabetical order if it has none yet.

        White space around a label is no part of it. Labels that look alike are pointed out.

        Raises:
            TaskError: fewer than two labels, a label that no example has, or a verbalizer word for no label.
            RowError: an example with another label, or none.
        """
        found = Counter(label_of(example, self.label_field) for example in examples)
        task = self.stripped() if self.labels else self.stripped().model_copy(update={"labels": tuple(sorted(found))})
        task.check({*found})
        for example in examples:
            task.index(example)
        warn_of_look_alikes(found)
        return task

    def stripped(self) -> ClassificationTask:
        """The task without white space around its labels."""
        labels = tuple(label.strip() for label in self.labels)
        words = {label.strip(): word for label, word in self.words.items()}
        return self.model_copy(update={"labels": labels, "words": words})

    def check(self, found: set[str]) -> None:
        """Whether the labels can be told apart and learnt from examples with the labels `found`.

        Raises:
            TaskError: fewer than two labels, one that is not found, or a verbalizer word for no label.
        """
        check_readable([*self.labels, *self.words.values()])
        if len(set(self.labels)) < max(2, len(self.labels)):
            raise TaskError(
                f"at least two different labels are needed, found: {_named_few(self.labels, ', '.join) or 'none'}"
            )
        if missing := [label for label in self.labels if label not in found]:
            raise TaskError(_unlearnable(missing, found))
        if unknown := [label for label in self.words if label not in self._indices]:
            raise TaskError(f"`verbalizer` has words for {', '.join(unknown)}, which is no label")
        warn_of_several(self.words)

    def index(self, example: Example) -> int:
        """The index of an example's label.

        Raises:
            RowError: it is none of the task's labels.
        """
        label = label_of(example, self.label_field)
        index = self._indices.get(label)
        if index is None:
            like = look_alike(label, self.labels)
            hint = "" if like is None else f" (it looks like {like!r}: write it alike)"
            raise RowError(example.where, f"label {label!r} is none of {_named_few(self.labels, ', '.join)}{hint}")
        return index

    @cached_property
    def _indices(self) -> dict[str, int]:
        """The index of each label."""
        return {label: i for i, label in enumerate(self.labels)}

    def bind(self, model: FrozenModel, room: int, head: Reader | None = None) -> ClassificationObjective:
        """The task on a model that leaves `room` positions for a row, read by the verbalizer or by a trained head."""
        return ClassificationObjective(model, self, room, head or self._verbalizer(model))

    def _verbalizer(self, model: FrozenModel) -> Reader:
        """How the labels' own words are read off this kind of model.

        Raises:
            TaskError: there are no labels, or the template has no blank where the model would fill one.
            IncompleteModel: the model has no word head.
        """
        model.check_word_head()
        if not self.labels:
            raise TaskError("a classification without labels has nothing to choose from: name some")
        Template(self.template).check_answerable(model)
        words = self._said(model, self._answers(*self.labels))
        check_apart([(label, self.words.get(label, label)) for label in self.labels], words)
        return ClozeVerbalizer(words, model.blank) if isinstance(model, MaskedModel) else Verbalizer(words, model.eos)

    def _answers(self, *labels: str) -> list[str]:
        """What the model says for labels, as it follows the template."""
        template = Template(self.template)
        return [joined(template, self.words.get(label, label)) for label in labels]

    def _said(self, model: FrozenModel, answers: Sequence[str]) -> list[list[int]]:
        """The ids of such answers in their place."""
        return model.answers(end_of(Template(self.template).tail.rstrip(" "), CONTEXT), answers)


class ClassificationObjective(Objective):
    """K-way cross-entropy over what the reader reads.

    Raises:
        TaskError: the template has a blank, and the model fills none.
    """

    def __init__(self, model: FrozenModel, task: ClassificationTask, room: int, reader: Reader):
        super().__init__(model)
        self.task, self.reader = task, reader
        self.template = Template(task.template)
        self.template.check_blank(model)
        self.room = model.room_beside(reader.extra_tokens, room)

    def encode(self, example: Example) -> Row:
        """The filled template and the label's index."""
        return self.encode_text(example, self.task.index(example))

    def encode_text(self, example: Example, label: int = -1) -> Row:
        """The filled template of an example that needs no label."""
        ids, cut = self.template.encode(self.model, example, self.room)
        prompt, tail = self.reader.split(self.model, ids)
        return Row(prompt, [], label, cut, tail=tail)

    def collate(self, rows: Sequence[Row], payloads: Payloads) -> Batch:
        """One sequence a row and path of the reader; read at the reader's nodes."""
        each = [arranged(row, payload_of(payloads, i)) for i, row in enumerate(rows)]
        paths = self.reader.paths
        ids, mask = padded([[*prompt, *path, *tail] for prompt, tail in each for path in paths], self.model.device)
        reads = [
            (i * len(paths) + path) * ids.shape[1] + len(prompt) + self.reader.answer_begins + depth
            for i, (prompt, _) in enumerate(each)
            for path, depth in self.reader.nodes
        ]
        return Batch(
            ids,
            mask,
            reads=torch.tensor(reads, device=ids.device),
            targets=torch.tensor([row.label for row in rows], device=ids.device),
            weights=torch.ones(len(rows), device=ids.device),
            sequences_per_row=len(paths),
        )

    def log_probabilities(self, hidden: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B K"]:
        """Log-probabilities of the labels; each row sums to one."""
        states = hidden.unflatten(0, (len(batch.weights), len(self.reader.nodes)))
        return self.reader.log_probabilities(self.model, states)

    def losses(self, hidden: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B"]:
        """The negative log-probability of each row's right label."""
        return torch.nn.functional.nll_loss(self.log_probabilities(hidden, batch), batch.targets, reduction="none")

    def outputs(self, hidden: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B K"]:
        """Log-probabilities of the labels."""
        return self.log_probabilities(hidden, batch)

    def metrics(self, outputs: Float[Tensor, "N K"], rows: Sequence[Row]) -> dict[str, float]:
        """Accuracy, macro F1 and mean loss; macro F1 first, and the majority's share, where the labels are uneven."""
        labels, size = _labels(rows), len(self.task.labels)
        predicted = outputs.argmax(dim=1)
        figures = {
            "accuracy": accuracy(predicted, labels),
            "macro_f1": macro_f1(predicted, labels, size),
            "loss": float(torch.nn.functional.nll_loss(outputs, labels)),
        }
        return with_headline(figures, labels, size)

    def scores(self, outputs: Float[Tensor, "N K"], rows: Sequence[Row]) -> list[float]:
        """Of each row whether it is right: see `label_shares.scores_of`."""
        return scores_of(outputs.argmax(dim=1), _labels(rows), len(self.task.labels)).tolist()

    def never_answered(self, outputs: Float[Tensor, "N K"], rows: Sequence[Row]) -> tuple[str, ...]:
        """The labels that rows have and that are never answered."""
        return never_answered(outputs.argmax(dim=1), _labels(rows), self.task.labels)

    def quality(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """Accuracy, or macro F1 where the labels are uneven; among equals, the lower loss."""
        return metrics["macro_f1" if MAJORITY in metrics else "accuracy"], -metrics["loss"]


def _unlearnable(missing: Sequence[str], found: set[str]) -> str:
    """What to say of labels that no example has; they may be parts of one that was cut at its comma."""
    message = (
        f"no example has the label {_named_few(missing)}, so it cannot be learnt; the examples have "
        f"{_named_few(sorted(found))}"
    )
    if any("," in label for label in found):
        message += ". On a command line a label that holds a comma stands in quotes, as it does here"
    return message


def _named_few(labels: Sequence[str], join: Callable[[list[str]], str] = join_list) -> str:
    """The first labels, and how many more there are."""
    rest = len(labels) - NAMED
    return join([*labels[:NAMED]]) + (f" and {rest:,} more" if rest > 0 else "")


def _labels(rows: Sequence[Row]) -> Int[Tensor, "N"]:
    return torch.tensor([row.label for row in rows])
