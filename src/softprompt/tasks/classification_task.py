"""Classification: choose one of K labels, read by a label scorer where the template ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from softprompt.data import Example
from softprompt.errors import RecordError, TaskError
from softprompt.model import BatchPayloads, FrozenModel
from softprompt.tasks.collation import Batch
from softprompt.tasks.demonstrations import BLANK_LINE, EncodedDemonstration, FewShotContext, fit_demonstrations
from softprompt.tasks.encoded_example import EncodedExample, LabelTarget
from softprompt.tasks.few_shot_text import fit_few_shot_text
from softprompt.tasks.label_batch import collate_label_paths
from softprompt.tasks.label_scorers.label_messages import format_labels, missing_labels_message
from softprompt.tasks.label_scorers.label_scorer import LabelScorer
from softprompt.tasks.label_scorers.label_similarity import find_similar_label, warn_of_similar_labels
from softprompt.tasks.label_scorers.verbalizer_builder import build_verbalizer, encode_answers
from softprompt.tasks.label_scorers.verbalizer_checks import check_valid_unicode, warn_of_alternatives
from softprompt.tasks.metrics.label_metrics import (
    MAJORITY_METRIC,
    accuracy_score,
    list_unpredicted_labels,
    macro_f1_score,
    put_headline_first,
    score_predictions,
)
from softprompt.tasks.objective import Objective
from softprompt.tasks.templates.answer_text import join_answer
from softprompt.tasks.templates.template import Template

MAX_CANDIDATES = 500  # examples per label that are considered for the initializer


class ClassificationTask(BaseModel):
    """A task with text as input and one of K labels as output.

    Attributes:
        template: text of the template; the label follows it.
        labels: labels as the data has them, in the order of their indices.
        words: the verbalizer: the words for a label that differ from the label itself.
        label_field: name of the field with the right label.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["classification"] = "classification"
    template: str = "{text}\nLabel:"
    labels: tuple[str, ...] = Field(default=())
    words: Mapping[str, str] = Field(default_factory=dict)
    label_field: str = "label"

    def build_init_text(self, model: FrozenModel, examples: Sequence[Example], max_length: int) -> str:
        """Return the text that virtual tokens are initialized from, of at most `max_length` tokens where possible.

        The text has equally many examples of each label, at least one, see `fit_few_shot_text`.
        Without space for them, it describes the task.
        """
        candidates_by_label = (
            self._render_candidates(model, examples) if max_length > len(self.labels) else [[]] * len(self.labels)
        )
        if text := fit_few_shot_text(model, candidates_by_label, max_length):
            return text
        *others, last = self._label_words
        return f"Read the text and decide which of these it is: {', '.join(others)} or {last}.\n\n"

    def select_demonstrations(self, model: FrozenModel, examples: Sequence[Example], max_length: int) -> FewShotContext:
        """Return as many different examples with answers as fit in `max_length` tokens, one of each label in turn.

        Raises:
            SettingError: one example of each label does not fit.
        """
        template, groups = Template(self.template), []
        for index, label_examples in enumerate(self._group_by_label(examples)):
            answer_ids, separator_ids = self._encode_answer_and_separator(model, index)
            groups.append(
                [
                    EncodedDemonstration(template.encode_raw(model, example), answer_ids, separator_ids)
                    for example in label_examples
                ]
            )
        return fit_demonstrations(groups, max_length)

    def encode_demonstration(self, model: FrozenModel, example: Example) -> EncodedDemonstration:
        """Encode an example with its answer.

        Raises:
            RecordError: the label of the example is not one of the task's labels.
        """
        answer_ids, separator_ids = self._encode_answer_and_separator(model, self.get_label_index(example))
        return EncodedDemonstration(Template(self.template).encode_raw(model, example), answer_ids, separator_ids)

    def _encode_answer_and_separator(self, model: FrozenModel, label_index: int) -> tuple[list[int], list[int]]:
        """Return the ids of a label's answer after the template, and of the blank line after the answer."""
        template = Template(self.template)
        answer = join_answer(template, self._label_words[label_index])
        return encode_answers(model, template, [answer])[0], model.prompt_tokenizer.encode_continuation(
            answer, BLANK_LINE
        )

    def _render_candidates(self, model: FrozenModel, examples: Sequence[Example]) -> list[list[tuple[str, int]]]:
        """Return, for each label, examples rendered with answers and their lengths in tokens; the longest first."""
        template = Template(self.template)
        candidates_by_label = []
        for word, label_examples in zip(self._label_words, self._group_by_label(examples), strict=True):
            answer = join_answer(template, word)
            texts = dict.fromkeys(
                template.render_text({field: example.get_text(field) for field in template.field_names})
                + answer
                + BLANK_LINE
                for example in label_examples
            )
            texts_and_lengths = [(text, len(model.prompt_tokenizer.tokenize(text))) for text in texts]
            candidates_by_label.append(sorted(texts_and_lengths, key=lambda item: item[1], reverse=True))
        return candidates_by_label

    def _group_by_label(self, examples: Sequence[Example]) -> list[list[Example]]:
        """Return the candidate examples of each label, found in one pass."""
        groups: dict[str, list[Example]] = {label: [] for label in self.labels}
        for example in examples:
            group = groups.get(self.get_label(example))
            if group is not None and len(group) < MAX_CANDIDATES:
                group.append(example)
        return [groups[label] for label in self.labels]

    def prepare(self, examples: Sequence[Example]) -> ClassificationTask:
        """Return the task with its labels: those of the examples in alphabetical order if the task has none.

        White space around labels is stripped. Labels that look alike are logged.

        Raises:
            TaskError: there are fewer than two labels, a label without examples, or a word for an unknown label.
            RecordError: an example has another label, or no label.
        """
        label_counts = Counter(self.get_label(example) for example in examples)
        task = (
            self.strip_labels()
            if self.labels
            else self.strip_labels().model_copy(update={"labels": tuple(sorted(label_counts))})
        )
        task.check_labels({*label_counts})
        if not label_counts.keys() <= {*task.labels}:
            for example in examples:  # raises for the first invalid example
                task.get_label_index(example)
        warn_of_similar_labels(label_counts)
        return task

    def strip_labels(self) -> ClassificationTask:
        """Return the task without white space around its labels."""
        labels = tuple(label.strip() for label in self.labels)
        words = {label.strip(): word for label, word in self.words.items()}
        return self.model_copy(update={"labels": labels, "words": words})

    def check_labels(self, example_labels: set[str]) -> None:
        """Check that the labels are distinct and that each occurs in the examples.

        Args:
            example_labels: labels that occur in the training examples.

        Raises:
            TaskError: there are fewer than two labels, a label without examples, or a word for an unknown label.
        """
        check_valid_unicode([*self.labels, *self.words.values()])
        if len(set(self.labels)) < max(2, len(self.labels)):
            raise TaskError(
                f"at least two different labels are required, found: {format_labels(self.labels, ', '.join) or 'none'}"
            )
        if missing := [label for label in self.labels if label not in example_labels]:
            raise TaskError(missing_labels_message(missing, example_labels))
        if unknown := [label for label in self.words if label not in self._label_indices]:
            raise TaskError(f"`verbalizer` has words for unknown labels: {', '.join(unknown)}")
        warn_of_alternatives(self.words)

    def get_label(self, example: Example) -> str:
        """Return an example's label, without white space around it.

        Raises:
            RecordError: the field is missing, not text, or blank.
        """
        label = example.get_text(self.label_field).strip()
        if not label:
            raise RecordError(example.location, f"no label: the field {self.label_field!r} is blank")
        return label

    def get_label_index(self, example: Example) -> int:
        """Return the index of an example's label.

        Raises:
            RecordError: the label is not one of the task's labels.
        """
        label = self.get_label(example)
        index = self._label_indices.get(label)
        if index is None:
            similar_label = find_similar_label(label, self.labels)
            hint = "" if similar_label is None else f" (did you mean {similar_label!r}?)"
            raise RecordError(
                example.location, f"label {label!r} is not one of {format_labels(self.labels, ', '.join)}{hint}"
            )
        return index

    @cached_property
    def _label_indices(self) -> dict[str, int]:
        """Indices of the labels by label."""
        return {label: i for i, label in enumerate(self.labels)}

    @cached_property
    def _label_words(self) -> list[str]:
        """The word of each label, which may be the label itself."""
        return [self.words.get(label, label) for label in self.labels]

    def build_objective(
        self, model: FrozenModel, max_length: int, head: LabelScorer | None = None
    ) -> ClassificationObjective:
        """Bind the task to a model.

        Args:
            model: the frozen base model.
            max_length: positions available for one example, in tokens.
            head: trained label scorer; None for the verbalizer.
        """
        if head is None:
            labels = [*zip(self.labels, self._label_words, strict=True)]
            head = build_verbalizer(model, Template(self.template), labels)
        return ClassificationObjective(model, self, max_length, head)


class ClassificationObjective(Objective):
    """The K-way cross-entropy over the scores of the label scorer.

    Raises:
        TaskError: the template has a mask, but the model is not a masked model.
    """

    task: ClassificationTask

    def __init__(self, model: FrozenModel, task: ClassificationTask, max_length: int, label_scorer: LabelScorer):
        max_prompt_length = model.prompt_tokenizer.get_max_prompt_length(label_scorer.max_extra_tokens, max_length)
        super().__init__(model, max_prompt_length)
        self.task, self.label_scorer = task, label_scorer
        self.template = Template(task.template)
        self.template.check_mask_supported(model)
        self._num_path_tokens = sum(map(len, label_scorer.appended_paths))

    def encode_example(self, example: Example) -> EncodedExample:
        """Encode the filled template and the index of the label."""
        return self.encode_unlabeled(example, self.task.get_label_index(example))

    def encode_unlabeled(self, example: Example, label_index: int = -1) -> EncodedExample:
        """Encode the filled template of an example that needs no label."""
        return self._build_encoded_example(
            *self.template.encode_example(self.model, example, self.max_length), label_index
        )

    def _encode_batch(self, examples: Sequence[Example]) -> list[EncodedExample]:
        labels = [self.task.get_label_index(example) for example in examples]
        encoded = self.template.encode_examples(self.model, examples, [self.max_length] * len(examples))
        return [
            self._build_encoded_example(token_ids, is_truncated, label)
            for (token_ids, is_truncated), label in zip(encoded, labels, strict=True)
        ]

    def _build_encoded_example(self, token_ids: list[int], is_truncated: bool, label_index: int) -> EncodedExample:
        prompt_ids, suffix_ids = self.label_scorer.split_at_answer(self.model, token_ids)
        supervision = LabelTarget(label_index) if label_index >= 0 else None
        return EncodedExample(prompt_ids, supervision, suffix_ids, is_truncated)

    @property
    def num_extra_tokens(self) -> int:
        """The tokens of the label scorer's paths, if there is more than one path."""
        return self._num_path_tokens if len(self.label_scorer.appended_paths) > 1 else 0

    def collate(self, examples: Sequence[EncodedExample], payloads: BatchPayloads) -> Batch:
        """Collate examples with output positions at the nodes of the label scorer."""
        return collate_label_paths(self.model, examples, payloads, self.label_scorer)

    def compute_log_probs(self, hidden_states: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B K"]:
        """Return log-probabilities of the labels; the probabilities of each example sum to one."""
        states = hidden_states.unflatten(0, (len(batch.example_weights), len(self.label_scorer.output_nodes)))
        return self.label_scorer.compute_log_probs(self.model, states)

    def compute_losses(self, hidden_states: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B"]:
        """Return the negative log-probability of each example's right label."""
        return torch.nn.functional.nll_loss(
            self.compute_log_probs(hidden_states, batch), batch.targets, reduction="none"
        )

    def compute_outputs(self, hidden_states: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B K"]:
        """Return log-probabilities of the labels."""
        return self.compute_log_probs(hidden_states, batch)

    def compute_metrics(self, outputs: Float[Tensor, "N K"], examples: Sequence[EncodedExample]) -> dict[str, float]:
        """Compute accuracy, macro F1 and mean loss.

        With imbalanced labels, macro F1 comes first, and the share of the majority label is added.
        """
        labels, num_labels = _stack_label_indices(examples), len(self.task.labels)
        predicted = outputs.argmax(dim=1)
        metrics = {
            "accuracy": accuracy_score(predicted, labels),
            "macro_f1": macro_f1_score(predicted, labels, num_labels),
            "loss": float(torch.nn.functional.nll_loss(outputs, labels)),
        }
        return put_headline_first(metrics, labels, num_labels)

    def score_examples(self, outputs: Float[Tensor, "N K"], examples: Sequence[EncodedExample]) -> list[float]:
        """Return whether each example is right, as 1 or 0, weighted as in `label_metrics.score_predictions`."""
        return score_predictions(outputs.argmax(dim=1), _stack_label_indices(examples), len(self.task.labels)).tolist()

    def find_unpredicted_labels(
        self, outputs: Float[Tensor, "N K"], examples: Sequence[EncodedExample]
    ) -> tuple[str, ...]:
        """Return labels that occur in the examples but are never predicted."""
        return list_unpredicted_labels(outputs.argmax(dim=1), _stack_label_indices(examples), self.task.labels)

    def selection_key(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """Return accuracy, or macro F1 with imbalanced labels; a lower loss breaks ties."""
        return metrics["macro_f1" if MAJORITY_METRIC in metrics else "accuracy"], -metrics["loss"]


def _stack_label_indices(examples: Sequence[EncodedExample]) -> Int[Tensor, "N"]:
    return torch.tensor([example.label_index for example in examples])
