"""Give every word a tag: names, parts of speech. A trained head reads each word off its first token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from softprompt.data import Example
from softprompt.errors import RowError, TaskError
from softprompt.model import FrozenModel
from softprompt.tasks.entities import OUTSIDE, entity_f1, is_bio
from softprompt.tasks.labels import warn_of_look_alikes
from softprompt.tasks.linear_head import LinearHead
from softprompt.tasks.objective import Batch, Row
from softprompt.tasks.passage import Passage, check_located, located
from softprompt.tasks.reading import ReadingObjective, by_row, owners
from softprompt.tasks.template import Template


class TaggingTask(BaseModel):
    """Words in, a tag for each out.

    Attributes:
        template: what the model sees; the words stand in the place of their field, a space between them.
        labels: the K tags as the data writes them, in the order of their indices.
        words_field: the field with the words, a list.
        tags_field: the field with their tags, a list as long.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["token-classification"] = "token-classification"
    template: str = "{tokens}"
    labels: tuple[str, ...] = Field(default=())
    words_field: str = "tokens"
    tags_field: str = "tags"

    def start_text(self, model: FrozenModel, examples: Sequence[Example], room: int) -> str:  # noqa: ARG002
        """What the virtual tokens say before they are trained: the task in words."""
        return f"Read the text and say of each word which of these it is: {', '.join(self.labels)}.\n\n"

    def prepared(self, examples: Sequence[Example]) -> TaggingTask:
        """The task with its tags, taken from the examples in alphabetical order if it has none yet.

        Raises:
            TaskError: fewer than two tags, or the template has no place for the words.
            RowError: an example with other tags, or without one for each word.
        """
        check_located(Template(self.template), self.words_field)
        found = Counter(tag for example in examples for tag in self.tags_of(example))
        labels = tuple(label.strip() for label in self.labels) or tuple(sorted(found))
        task = self if labels == self.labels else self.model_copy(update={"labels": labels})
        if len(set(task.labels)) < max(2, len(task.labels)):
            raise TaskError(f"at least two different tags are needed, found: {', '.join(task.labels) or 'none'}")
        if not found.keys() <= set(task.labels):
            for example in examples:
                task.indices(example)
        warn_of_look_alikes(found)
        return task

    def words_of(self, example: Example) -> list[str]:
        """The words of an example.

        Raises:
            RowError: there are none, or they are no texts.
        """
        return example.texts(self.words_field)

    def tags_of(self, example: Example) -> list[str]:
        """The tags of an example, one for each word.

        Raises:
            RowError: there are none, fewer or more than words, or a blank one.
        """
        words, tags = self.words_of(example), [tag.strip() for tag in example.texts(self.tags_field)]
        if len(words) != len(tags):
            raise RowError(example.where, f"{len(words)} words and {len(tags)} tags: each word needs one")
        if "" in tags:
            raise RowError(example.where, f"the tag of word {tags.index('') + 1} is blank: each word needs one")
        return tags

    def indices(self, example: Example) -> tuple[int, ...]:
        """The indices of an example's tags.

        Raises:
            RowError: one is none of the task's.
        """
        tags = self.tags_of(example)
        if unknown := [tag for tag in tags if tag not in self.labels]:
            raise RowError(
                example.where,
                f"tag {unknown[0]!r} is none of {', '.join(self.labels)}: `labels` can name tags that are rare",
            )
        return tuple(map(self.labels.index, tags))

    def bind(self, model: FrozenModel, room: int, head: LinearHead | None = None) -> TaggingObjective:
        """The task on a model that leaves `room` positions for a row, read by a trained head.

        Raises:
            TaskError: there is no head, the model is an encoder-decoder, or the template does not suit it.
        """
        return TaggingObjective(model, self, room, head)


class TaggingObjective(ReadingObjective):
    """K-way cross-entropy over each word's first token.

    Raises:
        TaskError: see `ReadingObjective`.
    """

    def __init__(self, model: FrozenModel, task: TaggingTask, room: int, head: LinearHead | None):
        super().__init__(model, Template(task.template), room, head)
        self.task = task

    def encode(self, example: Example) -> Row:
        """The filled template, and the tags' indices."""
        return replace(self.encode_words(example), targets=self.task.indices(example))

    def encode_words(self, example: Example) -> Row:
        """The filled template of an example that needs no tags. Words that do not fit are cut off the end.

        Raises:
            RowError: not one word fits.
        """
        words = self.task.words_of(example)
        text = " ".join(words)
        ids, passage = located(self.template, self.model, example, self.task.words_field, text, self.room)
        passage, cut = _of_words(passage, words), len(passage.text) < len(text)
        if max(passage.places) < 0:
            raise RowError(example.where, "not one of its words has a token")
        return Row(ids, [], cut=cut, passage=passage)

    def targets_of(self, row: Row) -> Sequence[int]:
        """The tags of the words that are read."""
        assert row.passage is not None
        return [tag for tag, place in zip(row.targets, row.passage.places, strict=bool(row.targets)) if place >= 0]

    def weight_of(self, row: Row) -> int:
        """The words that are read."""
        assert row.passage is not None
        return sum(place >= 0 for place in row.passage.places)

    def log_probabilities(self, hidden: Float[Tensor, "R H"]) -> Float[Tensor, "R K"]:
        """Log-probabilities of the tags, for every word that is read."""
        return self.head.scores(hidden).log_softmax(dim=1)

    def losses(self, hidden: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B"]:
        """Summed over each row's words."""
        each = torch.nn.functional.nll_loss(self.log_probabilities(hidden), batch.targets, reduction="none")
        return torch.zeros_like(batch.weights).index_add(0, owners(batch), each)

    def outputs(self, hidden: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B C"]:
        """Log-probabilities of the tags, word after word; `by_word` reads them."""
        return by_row(self.log_probabilities(hidden), batch, padding=0.0).flatten(1)

    def by_word(self, output: Float[Tensor, "C"], row: Row) -> list[Float[Tensor, "K"] | None]:
        """A row's log-probabilities for each word; None for one that was cut away or has no token."""
        assert row.passage is not None
        read = iter(output.view(-1, len(self.task.labels)))
        return [next(read) if place >= 0 else None for place in row.passage.places]

    def scores(self, outputs: Float[Tensor, "N C"], rows: Sequence[Row]) -> list[float]:
        """Of each row the share of its words whose tag is right; a word that was not read is wrong."""
        words = [self.by_word(output, row) for output, row in zip(outputs, rows, strict=True)]
        return [
            sum(word is not None and int(word.argmax()) == right for word, right in zip(each, row.targets, strict=True))
            / max(1, len(each))
            for each, row in zip(words, rows, strict=True)
        ]

    def metrics(self, outputs: Float[Tensor, "N C"], rows: Sequence[Row]) -> dict[str, float]:
        """Accuracy of the words and their mean loss; where the tags are BIO, F1 of the names first.

        A word that was not read counts as wrong, and as no part of a name; the loss is of those that were.
        """
        labels = self.task.labels
        words = [self.by_word(output, row) for output, row in zip(outputs, rows, strict=True)]
        predicted = [[-1 if word is None else int(word.argmax()) for word in row] for row in words]
        hits = [i == j for one, row in zip(predicted, rows, strict=True) for i, j in zip(one, row.targets, strict=True)]
        losses = [
            -float(word[right])
            for each, row in zip(words, rows, strict=True)
            for word, right in zip(each, row.targets, strict=True)
            if word is not None
        ]
        named = {
            "f1": entity_f1(
                [[OUTSIDE if i < 0 else labels[i] for i in each] for each in predicted],
                [[labels[i] for i in row.targets] for row in rows],
            )
        }
        return {
            **(named if is_bio(labels) else {}),
            "accuracy": sum(hits) / len(hits),
            "loss": sum(losses) / len(losses),
        }

    def quality(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """F1 of the names, if there are any, else accuracy; among equals, the lower loss."""
        return metrics.get("f1", metrics["accuracy"]), -metrics["loss"]


def _of_words(passage: Passage, words: Sequence[str]) -> Passage:
    """The passage with one token for each word: its first, or none."""
    starts = [0, *accumulate(len(word) + 1 for word in words)]
    spans = tuple((start, start + len(word)) for start, word in zip(starts, words, strict=False))
    places, token = [], 0
    for start, end in spans:
        while token < len(passage.spans) and passage.spans[token][1] <= start:
            token += 1
        own = token < len(passage.spans) and passage.spans[token][0] < end
        places.append(passage.places[token] if own else -1)
    return Passage(passage.text, tuple(places), spans)
