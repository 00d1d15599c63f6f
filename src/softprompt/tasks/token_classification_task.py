"""Token classification: tag every word, such as names or parts of speech, with a trained head on its first token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Literal, TypeVar

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from softprompt.data import Example
from softprompt.errors import RecordError, TaskError
from softprompt.model import FrozenModel
from softprompt.tasks.collation import Batch
from softprompt.tasks.encoded_example import AlignedExample, EncodedExample, TagTargets, get_alignment, get_supervision
from softprompt.tasks.label_scorers.label_similarity import warn_of_similar_labels
from softprompt.tasks.label_scorers.linear_head import LinearHead
from softprompt.tasks.metrics.entity_metrics import OUTSIDE_TAG, entity_f1_score, has_bio_tags
from softprompt.tasks.templates.template import Template
from softprompt.tasks.templates.token_alignment import TokenAlignment, encode_with_alignment, require_field_once
from softprompt.tasks.token_head_objective import TokenHeadObjective, get_example_indices, pad_by_example

WordValue = TypeVar("WordValue")


class TokenClassificationTask(BaseModel):
    """A task with words as input and a tag for each word as output.

    Attributes:
        template: text of the template; the words replace their field, joined by spaces.
        labels: the K tags as the data has them, in the order of their indices.
        words_field: name of the field with the list of words.
        tags_field: name of the field with the list of tags, of the same length.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["token-classification"] = "token-classification"
    template: str = "{tokens}"
    labels: tuple[str, ...] = Field(default=())
    words_field: str = "tokens"
    tags_field: str = "tags"

    def build_init_text(self, model: FrozenModel, examples: Sequence[Example], max_length: int) -> str:  # noqa: ARG002
        """Return the text that virtual tokens are initialized from: a description of the task."""
        return f"Read the text and say of each word which of these it is: {', '.join(self.labels)}.\n\n"

    def prepare(self, examples: Sequence[Example]) -> TokenClassificationTask:
        """Return the task with its tags: those of the examples in alphabetical order if the task has none.

        Raises:
            TaskError: there are fewer than two tags, or the template does not contain the words exactly once.
            RecordError: an example has other tags, or not one for each word.
        """
        require_field_once(Template(self.template), self.words_field)
        tag_counts = Counter(tag for example in examples for tag in self.get_tags(example))
        labels = tuple(label.strip() for label in self.labels) or tuple(sorted(tag_counts))
        task = self if labels == self.labels else self.model_copy(update={"labels": labels})
        if len(set(task.labels)) < max(2, len(task.labels)):
            raise TaskError(f"at least two different tags are required, found: {', '.join(task.labels) or 'none'}")
        if not tag_counts.keys() <= set(task.labels):
            for example in examples:
                task.get_tag_indices(example)
        warn_of_similar_labels(tag_counts)
        return task

    def get_words(self, example: Example) -> list[str]:
        """Return the words of an example.

        Raises:
            RecordError: there are no words, or they are not texts.
        """
        return example.get_texts(self.words_field)

    def get_tags(self, example: Example) -> list[str]:
        """Return the tags of an example, one for each word.

        Raises:
            RecordError: there are no tags, their number differs from that of the words, or a tag is blank.
        """
        words, tags = self.get_words(example), [tag.strip() for tag in example.get_texts(self.tags_field)]
        if len(words) != len(tags):
            raise RecordError(example.location, f"{len(words)} words but {len(tags)} tags: each word needs one tag")
        if "" in tags:
            raise RecordError(
                example.location, f"the tag of word {tags.index('') + 1} is blank: each word needs one tag"
            )
        return tags

    def get_tag_indices(self, example: Example) -> tuple[int, ...]:
        """Return the indices of an example's tags.

        Raises:
            RecordError: a tag is not one of the task's tags.
        """
        tags = self.get_tags(example)
        if unknown := [tag for tag in tags if tag not in self.labels]:
            raise RecordError(
                example.location,
                f"tag {unknown[0]!r} is not one of {', '.join(self.labels)}: add rare tags with `labels`",
            )
        return tuple(map(self.labels.index, tags))

    def build_objective(
        self, model: FrozenModel, max_length: int, head: LinearHead | None = None
    ) -> TokenClassificationObjective:
        """Bind the task to a model.

        Args:
            model: the frozen base model.
            max_length: positions available for one example, in tokens.
            head: trained head; required.

        Raises:
            TaskError: there is no head, the model is an encoder-decoder, or the template does not fit the model.
        """
        return TokenClassificationObjective(model, self, max_length, head)


class TokenClassificationObjective(TokenHeadObjective):
    """The K-way cross-entropy over the first token of each word.

    Raises:
        TaskError: see `TokenHeadObjective`.
    """

    task: TokenClassificationTask

    def __init__(self, model: FrozenModel, task: TokenClassificationTask, max_length: int, head: LinearHead | None):
        super().__init__(model, Template(task.template), max_length, head)
        self.task = task

    def encode_example(self, example: Example) -> EncodedExample:
        """Encode the filled template and the indices of the tags."""
        return replace(self.encode_words(example), supervision=TagTargets(self.task.get_tag_indices(example)))

    def encode_words(self, example: Example) -> EncodedExample:
        """Encode the filled template of an example that needs no tags. Words that do not fit are dropped from the end.

        Raises:
            RecordError: no word fits.
        """
        words = self.task.get_words(example)
        text = " ".join(words)
        token_ids, alignment = encode_with_alignment(
            self.template, self.model, example, self.task.words_field, text, self.max_length
        )
        is_truncated = len(alignment.text) < len(text)
        alignment = _align_to_words(alignment, words)
        if max(alignment.token_positions) < 0:
            raise RecordError(example.location, "none of the words has a token")
        return AlignedExample(token_ids, is_truncated=is_truncated, alignment=alignment)

    def get_batch_targets(self, example: EncodedExample) -> Sequence[int]:
        """Return the tags of the words that are read; none if the tags are unknown."""
        if example.supervision is None:
            return []
        pairs = zip(_get_tag_indices(example), get_alignment(example).token_positions, strict=True)
        return [tag for tag, position in pairs if position >= 0]

    def get_example_weight(self, example: EncodedExample) -> int:
        """Return the number of words that are read."""
        return sum(position >= 0 for position in get_alignment(example).token_positions)

    def compute_log_probs(self, hidden_states: Float[Tensor, "R H"]) -> Float[Tensor, "R K"]:
        """Return log-probabilities of the tags for every word that is read."""
        return self.head.compute_logits(hidden_states).log_softmax(dim=1)

    def compute_losses(self, hidden_states: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B"]:
        """Return the loss summed over each example's words."""
        word_losses = torch.nn.functional.nll_loss(
            self.compute_log_probs(hidden_states), batch.targets, reduction="none"
        )
        return torch.zeros_like(batch.example_weights).index_add(0, get_example_indices(batch), word_losses)

    def compute_outputs(self, hidden_states: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B C"]:
        """Return log-probabilities of the tags, word after word, as input of `split_by_word`."""
        return pad_by_example(self.compute_log_probs(hidden_states), batch, padding=0.0).flatten(1)

    def split_by_word(self, output: Float[Tensor, "C"], example: EncodedExample) -> list[Float[Tensor, "K"] | None]:
        """Return an example's log-probabilities for each word; None for a word that is truncated or has no token."""
        word_log_probs = iter(output.view(-1, len(self.task.labels)))
        return [next(word_log_probs) if position >= 0 else None for position in get_alignment(example).token_positions]

    def score_examples(self, outputs: Float[Tensor, "N C"], examples: Sequence[EncodedExample]) -> list[float]:
        """Return the share of each example's words whose tag is right. A word that was not read counts as wrong."""
        words = [self.split_by_word(output, example) for output, example in zip(outputs, examples, strict=True)]
        return [
            sum(
                word is not None and int(word.argmax()) == tag_index
                for word, tag_index in zip(example_words, _get_tag_indices(example), strict=True)
            )
            / max(1, len(example_words))
            for example_words, example in zip(words, examples, strict=True)
        ]

    def compute_metrics(self, outputs: Float[Tensor, "N C"], examples: Sequence[EncodedExample]) -> dict[str, float]:
        """Compute word accuracy and mean loss, and with BIO tags the F1 of entities first.

        A word that was not read counts as wrong and as outside any entity. The loss covers only words that were read.
        """
        log_probs = [self.split_by_word(output, example) for output, example in zip(outputs, examples, strict=True)]
        targets = [_get_tag_indices(example) for example in examples]
        predicted = [[-1 if word is None else int(word.argmax()) for word in words] for words in log_probs]
        hits = [predicted_tag == tag for predicted_tag, tag in _pair_words(predicted, targets)]
        losses = [-float(word[tag]) for word, tag in _pair_words(log_probs, targets) if word is not None]
        metrics = {"accuracy": sum(hits) / len(hits), "loss": sum(losses) / len(losses)}
        is_bio = has_bio_tags(self.task.labels)
        return {"f1": self._compute_entity_f1(predicted, targets), **metrics} if is_bio else metrics

    def _compute_entity_f1(self, predicted: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> float:
        labels = self.task.labels
        return entity_f1_score(
            [[OUTSIDE_TAG if i < 0 else labels[i] for i in indices] for indices in predicted],
            [[labels[i] for i in indices] for indices in targets],
        )

    def selection_key(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """Return entity F1 if present, else accuracy; a lower loss breaks ties."""
        return metrics.get("f1", metrics["accuracy"]), -metrics["loss"]


def _get_tag_indices(example: EncodedExample) -> tuple[int, ...]:
    return get_supervision(example, TagTargets).tag_indices


def _pair_words(
    values: Sequence[Sequence[WordValue]], targets: Sequence[Sequence[int]]
) -> Iterator[tuple[WordValue, int]]:
    """Yield a value and the right tag of every word of every example."""
    for example_values, tag_indices in zip(values, targets, strict=True):
        yield from zip(example_values, tag_indices, strict=True)


def _align_to_words(alignment: TokenAlignment, words: Sequence[str]) -> TokenAlignment:
    """Reduce an alignment to one token per word: the first token of each word, or -1."""
    starts = [0, *accumulate(len(word) + 1 for word in words)]
    spans = tuple((start, start + len(word)) for start, word in zip(starts, words, strict=False))
    positions, token = [], 0
    for start, end in spans:
        while token < len(alignment.char_spans) and alignment.char_spans[token][1] <= start:
            token += 1
        has_token = token < len(alignment.char_spans) and alignment.char_spans[token][0] < end
        positions.append(alignment.token_positions[token] if has_token else -1)
    return TokenAlignment(alignment.text, tuple(positions), spans)
