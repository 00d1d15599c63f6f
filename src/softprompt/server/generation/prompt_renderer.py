"""Rendering and tokenization of the texts of requests, in the form in which the prompt was trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from softprompt.data import Example
from softprompt.errors import TaskError
from softprompt.model import FrozenModel
from softprompt.server.backends.loaded_prompt import UNLIMITED_LENGTH, LoadedPrompt
from softprompt.server.concurrency.fair_executor import FairExecutor
from softprompt.server.concurrency.python_time_budget import PythonTimeBudget
from softprompt.server.generation.input_names import attribute_errors_to
from softprompt.server.generation.text_length import TextLengthCheck
from softprompt.server.generation.tokenized_prompt import TokenizedPrompt
from softprompt.server.private_tokenizer import with_private_tokenizer
from softprompt.server.request_errors import InvalidRequest, NoChatTemplate, WrongTask
from softprompt.tasks import EncodedExample, Objective
from softprompt.tasks.chat_task import ChatTask
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.generation_task import GenerationObjective
from softprompt.tasks.language_modeling_objective import LanguageModelingObjective

T = TypeVar("T")
ObjectiveT = TypeVar("ObjectiveT", bound=Objective)


class PromptRenderer:
    """A renderer of requests with a thread and a tokenizer of its own.

    Args:
        model: base model of the server.
        max_model_len: maximum positions of a sequence; longer texts are rejected unread. None to tokenize all texts.
        max_jobs: maximum jobs that wait, half of them of one tenant.
        time_budget: budget that the jobs are charged to; None for no budget.

    Attributes:
        model: the base model with the renderer's own tokenizer.
    """

    def __init__(
        self,
        model: FrozenModel,
        max_model_len: int | None = None,
        max_jobs: int = 4096,
        time_budget: PythonTimeBudget | None = None,
    ):
        self.model = with_private_tokenizer(model)
        if max_model_len is not None:
            self.model.prompt_tokenizer.text_validator = TextLengthCheck(self.model.tokenizer, max_model_len)
        self._executor = FairExecutor("tokens", max_jobs, time_budget)

    async def run_in_thread(self, tenant: str, function: Callable[[], T]) -> T:
        """Run a function in the renderer's thread; tenants share its time equally.

        Raises:
            QueueFull: too many jobs are waiting.
        """
        return await self._executor.run_in_thread(tenant, function)

    def close(self) -> None:
        """Stop the thread."""
        self._executor.close()

    def render_chat(
        self,
        loaded_prompt: LoadedPrompt | None,
        messages: Sequence[Mapping[str, str]],
        fields: Mapping[str, Any] | None,
    ) -> TokenizedPrompt:
        """Render a chat: all messages in the chat template, or the last user message for a generation task.

        Raises:
            WrongTask: the prompt does not generate text.
            NoChatTemplate: the base model has no chat template.
            InvalidRequest: there is no user message.
            TaskError, RecordError: the template has other fields, or rejects the text.
        """
        if messages[-1]["role"] == "assistant":
            raise InvalidRequest("The last message is from the assistant: end with a user message.", "messages")
        objective = self._get_generation_objective(loaded_prompt)
        if isinstance(objective, GenerationObjective):
            texts = [message["content"] for message in messages if message["role"] == "user"]
            if not texts and fields is None:
                raise InvalidRequest("There is no user message: send at least one.", "messages")
            return self._render_template(loaded_prompt, objective, texts[-1] if texts else "", fields)
        _reject_fields(fields)
        encoded = objective.encode_prompt(Example({"messages": list(messages)}, "messages"), 1)
        return TokenizedPrompt.from_example(encoded, loaded_prompt, has_template=False)

    def render_completion(
        self, loaded_prompt: LoadedPrompt | None, text: str | Sequence[int], fields: Mapping[str, Any] | None
    ) -> TokenizedPrompt:
        """Render a text: unchanged for the base model, in the template of a generation task, or as a user message.

        Raises:
            WrongTask: the prompt does not generate text.
            InvalidRequest: the request has tokens instead of text.
            TaskError, RecordError: the template has other fields, or rejects the text.
        """
        if loaded_prompt is None:
            _reject_fields(fields)
            return TokenizedPrompt.from_example(EncodedExample(self._tokenize_raw(text)), None, has_template=False)
        if not isinstance(text, str):
            raise InvalidRequest(
                "This prompt has a template around the text: send text instead of token ids.", "prompt"
            )
        objective = self._get_generation_objective(loaded_prompt)
        return self._render_template(loaded_prompt, objective, text, fields)

    def render_classification(
        self, loaded_prompt: LoadedPrompt, texts: Sequence[str | Mapping[str, Any]], input_names: Sequence[str]
    ) -> list[EncodedExample]:
        """Render texts, or the fields of each, for classification; `input_names` are their names in the request.

        Raises:
            InvalidRequest: the prompt does not classify texts, or its template has other fields.
        """
        objective = loaded_prompt.objective
        if not isinstance(objective, ClassificationObjective):
            kind = loaded_prompt.task.kind
            alternative = (
                "/v1/chat/completions"
                if isinstance(objective, LanguageModelingObjective)
                else "`softprompt tag` or `extract`"
            )
            raise InvalidRequest(f"This prompt's task is {kind}, not classification: use {alternative}.", "model")
        objective = self._with_local_tokenizer(objective)
        examples = []
        for name, text in zip(input_names, texts, strict=True):
            with attribute_errors_to(name):
                examples.append(objective.encode_unlabeled(_create_example(objective.template.field_names, text, name)))
        return examples

    def _get_generation_objective(self, loaded_prompt: LoadedPrompt | None) -> LanguageModelingObjective:
        """Return the objective of the prompt's task, or a chat with the base model."""
        if loaded_prompt is None:
            if self.model.tokenizer.chat_template is None:
                raise NoChatTemplate
            return ChatTask().build_objective(self.model, UNLIMITED_LENGTH)
        if not isinstance(loaded_prompt.objective, LanguageModelingObjective):
            is_classifier = isinstance(loaded_prompt.objective, ClassificationObjective)
            alternative = "/v1/classify" if is_classifier else "another prompt"
            message = f"This prompt's task is {loaded_prompt.task.kind}, not text generation: use {alternative}."
            raise WrongTask(message)
        return self._with_local_tokenizer(loaded_prompt.objective)

    def _with_local_tokenizer(self, objective: ObjectiveT) -> ObjectiveT:
        """Copy the objective, with the tokenizer of this thread."""
        return objective.with_model(self.model)

    def _render_template(
        self,
        loaded_prompt: LoadedPrompt | None,
        objective: LanguageModelingObjective,
        text: str,
        fields: Mapping[str, Any] | None,
    ) -> TokenizedPrompt:
        if isinstance(objective, GenerationObjective):
            example = _create_example(objective.template.field_names, text if fields is None else fields, "fields")
        else:
            _reject_fields(fields)
            example = objective.build_example(text)
        has_template = isinstance(objective, GenerationObjective)
        return TokenizedPrompt.from_example(
            objective.encode_prompt(example, 1), loaded_prompt, has_template=has_template
        )

    def _tokenize_raw(self, text: str | Sequence[int]) -> list[int]:
        if isinstance(text, str):
            ids = self.model.prompt_tokenizer.tokenize(text)
            if ids[:1] == [self.model.prompt_tokenizer.bos_token_id]:
                ids = ids[1:]  # the text may begin with the BOS token that is added below
            ids = self.model.prompt_tokenizer.add_special_tokens(ids)
        else:
            ids = list(text)
            if max(ids) >= self.model.shape.vocab_size:
                message = (
                    f"Token id {max(ids)} is out of range: the vocabulary has {self.model.shape.vocab_size} tokens, "
                    "counted from 0."
                )
                raise InvalidRequest(message, "prompt")
        if not ids:
            raise InvalidRequest("The prompt is empty: it must have at least one token.", "prompt")
        return ids


def _create_example(field_names: Sequence[str], values: str | Mapping[str, Any], location: str) -> Example:
    """Create the example that fills a template with a text, or with fields.

    Raises:
        TaskError: the template has other fields.
    """
    if isinstance(values, str):
        if len(field_names) == 1:
            return Example({field_names[0]: values}, location)
        raise TaskError(
            f"this prompt's template has the fields {', '.join(field_names)}: send them as `fields` instead of one text"
        )
    if unknown := [name for name in values if name not in field_names]:
        raise TaskError(f"this prompt's template has no field {unknown[0]!r}: its fields are {', '.join(field_names)}")
    return Example(values, location)


def _reject_fields(fields: Mapping[str, Any] | None) -> None:
    if fields is not None:
        raise InvalidRequest("`fields` is only supported by prompts with a template: remove it.", "fields")
