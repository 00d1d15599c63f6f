"""Classification: choose one of K labels, read by a label scorer where the template ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from softprompt.comma_lists import join_list
from softprompt.data import Example
from softprompt.errors import RecordError, TaskError
from softprompt.model import BatchPayloads, FrozenModel, KVPrefix, MaskedModel, Payload
from softprompt.tasks.branch_batch import collate_branches
from softprompt.tasks.collation import Batch, apply_payload, get_payload, pad_right
from softprompt.tasks.demonstrations import BLANK_LINE, EncodedDemonstration, FewShotContext, fit_demonstrations
from softprompt.tasks.encoded_example import EncodedExample, LabelTarget
from softprompt.tasks.label_scorers.cloze_verbalizer import ClozeVerbalizer
from softprompt.tasks.label_scorers.label_scorer import LabelScorer
from softprompt.tasks.label_scorers.label_similarity import find_similar_label, get_label, warn_of_similar_labels
from softprompt.tasks.label_scorers.verbalizer import Verbalizer
from softprompt.tasks.label_scorers.verbalizer_checks import (
    check_distinct_tokens,
    check_valid_unicode,
    warn_of_alternatives,
)
from softprompt.tasks.metrics.label_metrics import (
    MAJORITY_METRIC,
    list_unpredicted_labels,
    put_headline_first,
    score_predictions,
)
from softprompt.tasks.metrics.text_metrics import accuracy_score, macro_f1_score
from softprompt.tasks.objective import Objective
from softprompt.tasks.templates.template import Template, join_answer, take_last_characters

MAX_CANDIDATES = 500  # examples per label that are considered for the initializer
MAX_NAMED_LABELS = 20  # labels that a message lists
ANSWER_CONTEXT_CHARS = 1000  # characters before a label that determine its tokenization
#: With more space, the initializer has more examples, not longer ones: benchmarks/results/tuning_log.md
TOKENS_PER_SHOT = 50


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

        The text has equally many examples of each label, at least one, and `TOKENS_PER_SHOT` tokens for each example.
        Without space for them, it describes the task.
        """
        candidates_by_label = (
            self._render_candidates(model, examples) if max_length > len(self.labels) else [[]] * len(self.labels)
        )
        for num_shots in range(max(1, max_length // (len(self.labels) * TOKENS_PER_SHOT)), 0, -1):
            tokens_per_example = max_length // (len(self.labels) * num_shots)
            for max_tokens in (
                tokens_per_example,
                tokens_per_example - 1,
            ):  # a joined text may have more tokens than its parts
                fitting_texts = [
                    [text for text, length in texts if length <= max_tokens][:num_shots]
                    for texts in candidates_by_label
                ]
                text = "".join(text for round_texts in zip(*fitting_texts, strict=False) for text in round_texts)
                if (
                    all(len(texts) == num_shots for texts in fitting_texts)
                    and len(model.prompt_tokenizer.tokenize(text)) <= max_length
                ):
                    return text
        *others, last = (self.words.get(label, label) for label in self.labels)
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
        answer = self._build_answer_texts(self.labels[label_index])[0]
        return self._encode_answers(model, [answer])[0], model.prompt_tokenizer.encode_continuation(answer, BLANK_LINE)

    def _render_candidates(self, model: FrozenModel, examples: Sequence[Example]) -> list[list[tuple[str, int]]]:
        """Return, for each label, examples rendered with answers and their lengths in tokens; the longest first."""
        template = Template(self.template)
        candidates_by_label = []
        for answer, label_examples in zip(
            self._build_answer_texts(*self.labels), self._group_by_label(examples), strict=True
        ):
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
            group = groups.get(get_label(example, self.label_field))
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
        label_counts = Counter(get_label(example, self.label_field) for example in examples)
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
                f"at least two different labels are required, found: {_format_labels(self.labels, ', '.join) or 'none'}"
            )
        if missing := [label for label in self.labels if label not in example_labels]:
            raise TaskError(_missing_labels_message(missing, example_labels))
        if unknown := [label for label in self.words if label not in self._label_indices]:
            raise TaskError(f"`verbalizer` has words for unknown labels: {', '.join(unknown)}")
        warn_of_alternatives(self.words)

    def get_label_index(self, example: Example) -> int:
        """Return the index of an example's label.

        Raises:
            RecordError: the label is not one of the task's labels.
        """
        label = get_label(example, self.label_field)
        index = self._label_indices.get(label)
        if index is None:
            similar_label = find_similar_label(label, self.labels)
            hint = "" if similar_label is None else f" (did you mean {similar_label!r}?)"
            raise RecordError(
                example.location, f"label {label!r} is not one of {_format_labels(self.labels, ', '.join)}{hint}"
            )
        return index

    @cached_property
    def _label_indices(self) -> dict[str, int]:
        """Indices of the labels by label."""
        return {label: i for i, label in enumerate(self.labels)}

    def build_objective(
        self, model: FrozenModel, max_length: int, head: LabelScorer | None = None
    ) -> ClassificationObjective:
        """Bind the task to a model.

        Args:
            model: the frozen base model.
            max_length: positions available for one example, in tokens.
            head: trained label scorer; None for the verbalizer.
        """
        return ClassificationObjective(model, self, max_length, head or self._build_verbalizer(model))

    def _build_verbalizer(self, model: FrozenModel) -> LabelScorer:
        """Build the verbalizer of this kind of model.

        Raises:
            TaskError: there are no labels, or the template lacks the mask that a masked model needs.
            IncompleteModel: the model has no LM head.
        """
        model.check_lm_head()
        if not self.labels:
            raise TaskError("a classification needs labels: pass `labels`")
        Template(self.template).check_has_mask(model)
        words = self._encode_answers(model, self._build_answer_texts(*self.labels))
        check_distinct_tokens([(label, self.words.get(label, label)) for label in self.labels], words)
        return (
            ClozeVerbalizer(words, model.prompt_tokenizer.mask_token_id)
            if isinstance(model, MaskedModel)
            else Verbalizer(words, model.eos_token_id)
        )

    def _build_answer_texts(self, *labels: str) -> list[str]:
        """Return the verbalizations of labels as they follow the template."""
        template = Template(self.template)
        return [join_answer(template, self.words.get(label, label)) for label in labels]

    def _encode_answers(self, model: FrozenModel, answers: Sequence[str]) -> list[list[int]]:
        """Return the ids of answers, tokenized after the end of the template."""
        return model.prompt_tokenizer.encode_answers(
            take_last_characters(Template(self.template).text_before_answer.rstrip(" "), ANSWER_CONTEXT_CHARS), answers
        )


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
        """Collate examples with output positions at the nodes of the label scorer.

        Several paths become branches of one sequence per example, if the model supports branches and that is cheaper.
        Otherwise there is one sequence per example and path.
        """
        if self._should_branch(examples, payloads) and self.model.supports_branches(payloads):
            return collate_branches(self.model, examples, payloads, self.label_scorer)
        return self._collate_sequences(examples, payloads)

    def _should_branch(self, examples: Sequence[EncodedExample], payloads: BatchPayloads) -> bool:
        """Return whether the tokens saved by branches cost more than the additional forward pass of the branches."""
        num_computed_tokens = sum(
            len(example) - _count_known_ids(get_payload(payloads, i)) for i, example in enumerate(examples)
        )
        return (len(self.label_scorer.appended_paths) - 1) * num_computed_tokens > self.model.forward_budget.overhead

    def _collate_sequences(self, examples: Sequence[EncodedExample], payloads: BatchPayloads) -> Batch:
        """Collate one sequence per example and path."""
        arranged = [apply_payload(example, get_payload(payloads, i)) for i, example in enumerate(examples)]
        paths = self.label_scorer.appended_paths
        input_ids, attention_mask = pad_right(
            [[*prompt, *path, *suffix] for prompt, suffix in arranged for path in paths], self.model.device
        )
        output_indices = [
            (i * len(paths) + path) * input_ids.shape[1] + len(prompt) + self.label_scorer.first_output_offset + depth
            for i, (prompt, _) in enumerate(arranged)
            for path, depth in self.label_scorer.output_nodes
        ]
        return Batch(
            input_ids,
            attention_mask,
            output_indices=torch.tensor(output_indices, device=input_ids.device),
            targets=torch.tensor([example.label_index for example in examples], device=input_ids.device),
            example_weights=torch.ones(len(examples), device=input_ids.device),
            sequences_per_example=len(paths),
        )

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


def _count_known_ids(payload: Payload | None) -> int:
    """Return the number of leading ids of each prompt that the payload already contains."""
    return payload.has_bos + payload.num_shared_tokens if isinstance(payload, KVPrefix) else 0


def _missing_labels_message(missing_labels: Sequence[str], example_labels: set[str]) -> str:
    """Return the error message for labels without examples.

    Such labels may be parts of one label that was split at its comma.
    """
    message = (
        f"no training example has the label {_format_labels(missing_labels)}; labels found: "
        f"{_format_labels(sorted(example_labels))}"
    )
    if any("," in label for label in example_labels):
        message += ". On the command line, quote labels that contain a comma, as shown here"
    return message


def _format_labels(labels: Sequence[str], join: Callable[[list[str]], str] = join_list) -> str:
    """Format the first labels, and the number of further ones."""
    num_hidden = len(labels) - MAX_NAMED_LABELS
    return join([*labels[:MAX_NAMED_LABELS]]) + (f" and {num_hidden:,} more" if num_hidden > 0 else "")


def _stack_label_indices(examples: Sequence[EncodedExample]) -> Int[Tensor, "N"]:
    return torch.tensor([example.label_index for example in examples])
