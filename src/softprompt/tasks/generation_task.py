"""Generation: write a response after the template. The loss covers only the response and its end-of-text token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from softprompt.data import Example
from softprompt.data.example import missing_field_message
from softprompt.errors import RecordError, TaskError
from softprompt.model import FrozenModel
from softprompt.tasks.demonstrations import BLANK_LINE, EncodedDemonstration, FewShotContext, fit_demonstrations
from softprompt.tasks.encoded_example import EncodedExample, ResponseTarget
from softprompt.tasks.label_scorers.linear_head import LinearHead
from softprompt.tasks.language_modeling_objective import LanguageModelingObjective
from softprompt.tasks.templates.answer_text import join_answer
from softprompt.tasks.templates.template import Template

MAX_CANDIDATES = 500  # examples that are considered for the initializer


class GenerationTask(BaseModel):
    """A task with an instruction as input and a response as output.

    Attributes:
        template: text of the template, which precedes the response.
        response_field: name of the field with the response to train on.
        references_field: name of the field with one or several right responses for evaluation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["generation"] = "generation"
    template: str = "{input}\n"
    response_field: str = "output"
    references_field: str = "references"

    def build_init_text(self, model: FrozenModel, examples: Sequence[Example], max_length: int) -> str:  # noqa: ARG002
        """Return the text that virtual tokens are initialized from: a description of the task."""
        return "Read the input carefully and write the right response to it, complete, correct and in good style.\n\n"

    def select_demonstrations(self, model: FrozenModel, examples: Sequence[Example], max_length: int) -> FewShotContext:
        """Return as many of the first examples with responses as fit in `max_length` tokens.

        Raises:
            SettingError: one example does not fit.
        """
        return fit_demonstrations(
            [[self.encode_demonstration(model, example) for example in examples[:MAX_CANDIDATES]]], max_length
        )

    def encode_demonstration(self, model: FrozenModel, example: Example) -> EncodedDemonstration:
        """Encode an example with its response."""
        template = Template(self.template)
        answer = join_answer(template, self.get_references(example)[0])
        answer_ids = model.prompt_tokenizer.encode_answer(template.text_before_answer, answer)
        separator_ids = model.prompt_tokenizer.encode_continuation(answer, BLANK_LINE)
        return EncodedDemonstration(template.encode_raw(model, example), answer_ids, separator_ids)

    @property
    def labels(self) -> tuple[str, ...]:
        """Empty: a response is generated, not chosen."""
        return ()

    def prepare(self, examples: Sequence[Example]) -> GenerationTask:
        """Return the task unchanged, after checking that every example has a field for a response.

        Raises:
            RecordError: an example has no such field.
        """
        for example in examples:
            self._get_responses(example)
        return self

    def has_answer(self, example: Example) -> bool:
        """Return whether an example has a response that is not blank.

        Raises:
            RecordError: the example has no field for a response.
        """
        return bool(self._get_responses(example))

    def get_references(self, example: Example) -> list[str]:
        """Return the right responses to an example: its response, or else its references.

        Raises:
            RecordError: the example has neither, or they are blank.
        """
        responses = self._get_responses(example)
        if not responses:
            raise RecordError(
                example.location, "the response is blank, so there is nothing to train on: remove this record"
            )
        return responses

    def _get_responses(self, example: Example) -> list[str]:
        """Return the responses that are neither null nor blank."""
        for field, read in ((self.response_field, example.get_text), (self.references_field, example.get_texts)):
            if field in example.fields:
                texts = [] if example.fields[field] in (None, []) else read(field)
                return [text for text in ([texts] if isinstance(texts, str) else texts) if text.strip()]
        names = (self.response_field, self.references_field)
        raise RecordError(example.location, missing_field_message(names, example.fields))

    def build_objective(
        self, model: FrozenModel, max_length: int, head: LinearHead | None = None
    ) -> GenerationObjective:
        """Bind the task to a model.

        Args:
            model: the frozen base model.
            max_length: positions available for one example, in tokens.
            head: must be None.

        Raises:
            TaskError: a head is given, which cannot generate text, or the model cannot generate text.
        """
        if head is not None:
            raise TaskError('a linear head chooses among labels and cannot generate text: pass `head="verbalizer"`')
        return GenerationObjective(model, self, max_length)


class GenerationObjective(LanguageModelingObjective):
    """The next-token loss on the response after a template, including the end-of-text token.

    Raises:
        TaskError: the model cannot generate text, or the template has a mask.
    """

    task: GenerationTask

    def __init__(self, model: FrozenModel, task: GenerationTask, max_length: int):
        super().__init__(model, max_length)
        self.task = task
        self.template = Template(task.template)
        self.template.check_mask_supported(model)

    def encode_example(self, example: Example) -> EncodedExample:
        """Encode template and response. If both do not fit, the template's fields are truncated, never the response."""
        response_ids = [*self._encode_response(self.task.get_references(example)[0]), self.eos_token_id]
        prompt_ids, is_truncated = self.template.encode_example(
            self.model, example, self._compute_template_length(response_ids, example)
        )
        return EncodedExample(prompt_ids, ResponseTarget.from_tokens(response_ids), is_truncated=is_truncated)

    def _encode_batch(self, examples: Sequence[Example]) -> list[EncodedExample]:
        answers = [join_answer(self.template, self.task.get_references(example)[0]) for example in examples]
        responses = [
            [*prompt_ids, self.eos_token_id]
            for prompt_ids in self.model.prompt_tokenizer.encode_answers(self.template.text_before_answer, answers)
        ]
        max_lengths = [
            self._compute_template_length(response_ids, example)
            for response_ids, example in zip(responses, examples, strict=True)
        ]
        encoded = self.template.encode_examples(self.model, examples, max_lengths)
        return [
            EncodedExample(prompt_ids, ResponseTarget.from_tokens(response_ids), is_truncated=is_truncated)
            for (prompt_ids, is_truncated), response_ids in zip(encoded, responses, strict=True)
        ]

    def _compute_template_length(self, response_ids: list[int], example: Example) -> int:
        """Return the maximum length of the template, in tokens, that leaves space for a response.

        Raises:
            RecordError: the response leaves no space.
        """
        template_length = self.model.prompt_tokenizer.get_max_prompt_length(len(response_ids), self.max_length)
        if template_length < 1:
            raise RecordError(
                example.location,
                f"the response has {len(response_ids)} tokens, but only {self.max_length} fit in total",
            )
        return template_length

    def encode_prompt(self, example: Example, max_new_tokens: int) -> EncodedExample:
        """Encode the template alone, with space for `max_new_tokens` tokens of response.

        Raises:
            SettingError: `max_new_tokens` is less than one, or leaves no space for the template.
        """
        prompt_ids, is_truncated = self.template.encode_example(
            self.model, example, self.compute_max_prompt_length(max_new_tokens)
        )
        return EncodedExample(prompt_ids, is_truncated=is_truncated)

    def encode_without_answer(self, example: Example, max_new_tokens: int) -> EncodedExample:
        """Encode the template alone, as `encode_prompt`."""
        return self.encode_prompt(example, max_new_tokens)

    def get_references(self, example: Example) -> list[str]:
        """Return the right responses to an example, as the task does."""
        return self.task.get_references(example)

    def build_example(self, text: str) -> Example:
        """Build an example with the text in the only field of the template.

        Raises:
            TaskError: the template has several fields.
        """
        return Example({self.template.get_single_field(): text}, "the text")

    def _encode_response(self, text: str) -> list[int]:
        return self.model.prompt_tokenizer.encode_answer(
            self.template.text_before_answer, join_answer(self.template, text)
        )
