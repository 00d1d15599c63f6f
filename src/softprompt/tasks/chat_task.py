"""Chat: answer in a conversation that the model's chat template renders. The loss covers the assistant's messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from softprompt.data import Example
from softprompt.data.example import missing_field_message
from softprompt.data.formats.chat_messages import (
    ASSISTANT,
    CONTENT,
    ROLE,
    USER,
    MessageDict,
    drop_weight,
    find_supervised_messages,
    normalize_messages,
)
from softprompt.errors import RecordError, TaskError
from softprompt.model import CausalModel, FrozenModel
from softprompt.tasks.chat_tokenizer import ChatTokenizer
from softprompt.tasks.encoded_example import EncodedExample, ResponseTarget
from softprompt.tasks.label_scorers.linear_head import LinearHead
from softprompt.tasks.language_modeling_objective import LanguageModelingObjective
from softprompt.tasks.templates.text_truncation import drop_last_tokens

NO_ANSWER_MESSAGE = "the assistant has no message to train on"


class ChatTask(BaseModel):
    """A task with a conversation as input and the assistant's answer as output.

    Attributes:
        messages_field: name of the field with the messages, each with a `role` and a `content`.
        system_message: source of the system message of conversations that have none: the model's chat `template`, which
            may have a default one, or the soft `prompt`, whose virtual tokens contain it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["chat"] = "chat"
    messages_field: str = "messages"
    # Not written with its default value, so that prompts of earlier versions keep their hash.
    system_message: Literal["template", "prompt"] = Field(
        default="template", exclude_if=lambda value: value == "template"
    )

    def build_init_text(self, model: FrozenModel, examples: Sequence[Example], max_length: int) -> str:  # noqa: ARG002
        """Return the text that virtual tokens are initialized from: a description of the task."""
        return "Read the conversation carefully and write the right answer, complete, correct and in good style.\n\n"

    @property
    def template(self) -> str:
        """A template with all messages as its only field; the model's chat template arranges them."""
        return f"{{{self.messages_field}}}"

    @property
    def labels(self) -> tuple[str, ...]:
        """Empty: an answer is generated, not chosen."""
        return ()

    def prepare(self, examples: Sequence[Example]) -> ChatTask:
        """Return the task unchanged, after checking that the assistant has a message in every example.

        Raises:
            RecordError: an example has no assistant message.
        """
        for example in examples:
            if all(message[ROLE] != ASSISTANT for message in self.get_messages(example)):
                raise RecordError(example.location, NO_ANSWER_MESSAGE)
        return self

    def has_answer(self, example: Example) -> bool:
        """Return whether an example has a supervised assistant message.

        Raises:
            RecordError: there are no messages, or they are invalid.
        """
        return bool(find_supervised_messages(self.get_messages(example)))

    def get_messages(self, example: Example) -> list[MessageDict]:
        """Return the messages of an example.

        Raises:
            RecordError: there are no messages, or they are invalid.
        """
        if self.messages_field not in example.fields:
            raise RecordError(example.location, missing_field_message([self.messages_field], example.fields))
        return normalize_messages(example.fields[self.messages_field], example.location)

    def get_prompt_fields(self, example: Example) -> dict[str, list[MessageDict]]:
        """Return the field with the messages before the assistant's last supervised message."""
        return {self.messages_field: self.split_last_answer(example)[0]}

    def split_last_answer(self, example: Example) -> tuple[list[MessageDict], str]:
        """Return the messages before the assistant's last supervised message, and the text of that message.

        Raises:
            RecordError: no message is supervised.
        """
        messages = self.get_messages(example)
        last = _find_last_answer(messages, example.location)
        return [drop_weight(message) for message in messages[:last]], messages[last][CONTENT]

    def build_objective(self, model: FrozenModel, max_length: int, head: LinearHead | None = None) -> ChatObjective:
        """Bind the task to a model.

        Args:
            model: the frozen base model.
            max_length: positions available for one example, in tokens.
            head: must be None.

        Raises:
            TaskError: the model is not causal or has no chat template, or a head is given, which cannot generate text.
        """
        if head is not None:
            raise TaskError('a linear head chooses among labels and cannot answer in a chat: pass `head="verbalizer"`')
        if model.tokenizer.chat_template is None:
            raise TaskError(
                f"{model.name} has no chat template: use a chat model, "
                "or convert each conversation to the fields 'input' and 'output'"
            )
        return ChatObjective(model, self, max_length)


def _find_last_answer(messages: list[MessageDict], location: str) -> int:
    """Return the index of the assistant's last supervised message.

    Raises:
        RecordError: no message is supervised.
    """
    indices = find_supervised_messages(messages)
    if not indices:
        raise RecordError(location, NO_ANSWER_MESSAGE)
    return indices[-1]


class ChatObjective(LanguageModelingObjective):
    """The next-token loss on the assistant's messages and the token that ends each of them.

    Raises:
        TaskError: the model is not causal.
    """

    task: ChatTask

    def __init__(self, model: FrozenModel, task: ChatTask, max_length: int):
        super().__init__(model, max_length)
        if not isinstance(model, CausalModel):
            raise TaskError(f"{model.name} is not a causal model, which a chat requires")
        self.task = task
        self._tokenizer = ChatTokenizer(model, omits_system_message=task.system_message == "prompt")

    def with_model(self, model: FrozenModel) -> ChatObjective:
        """See `Objective`."""
        objective = super().with_model(model)
        objective._tokenizer = self._tokenizer.with_model(model)
        return objective

    def encode_example(self, example: Example) -> EncodedExample:
        """Encode a conversation up to the assistant's last supervised message.

        If the conversation is too long, the last exchanges are dropped. Then the longest unsupervised messages are
        truncated.

        Raises:
            RecordError: no message is supervised, the first answer does not fit, or the chat template fails.
        """
        messages = self.task.get_messages(example)
        messages = messages[: _find_last_answer(messages, example.location) + 1]
        encoded_chat = self._encode_conversation(messages, example.location)
        is_truncated = False
        while len(encoded_chat) > self.max_length:
            messages = self._drop_last_exchange(messages, len(encoded_chat) - self.max_length, example.location)
            encoded_chat, is_truncated = self._encode_conversation(messages, example.location), True
        return replace(encoded_chat, is_truncated=is_truncated)

    def encode_prompt(self, example: Example, max_new_tokens: int) -> EncodedExample:
        """Encode a conversation up to where the assistant's last answer begins, or after the user's last message.

        Raises:
            SettingError: `max_new_tokens` is less than one, or leaves no space for the conversation.
            RecordError: the chat template fails.
        """
        messages = self.task.get_messages(example)
        if messages[-1][ROLE] == ASSISTANT:
            messages = messages[:-1]
        return self._encode_truncated_prompt(messages, max_new_tokens, example.location)

    def encode_without_answer(self, example: Example, max_new_tokens: int) -> EncodedExample:
        """Encode a conversation up to where the assistant's last supervised message begins.

        Raises:
            SettingError, RecordError: as `encode_prompt`, or no message is supervised.
        """
        return self._encode_truncated_prompt(self.task.split_last_answer(example)[0], max_new_tokens, example.location)

    def _encode_truncated_prompt(
        self, messages: list[MessageDict], max_new_tokens: int, location: str
    ) -> EncodedExample:
        """Encode a conversation up to the assistant's next answer, with space for `max_new_tokens` tokens."""
        max_prompt_length = self.compute_max_prompt_length(max_new_tokens)
        prompt_ids, is_truncated = self._tokenizer.tokenize_generation_prompt(messages, location), False
        while len(prompt_ids) > max_prompt_length:
            messages = self._truncate_longest_message(
                messages, range(len(messages)), len(prompt_ids) - max_prompt_length, location
            )
            prompt_ids, is_truncated = self._tokenizer.tokenize_generation_prompt(messages, location), True
        return EncodedExample(prompt_ids, is_truncated=is_truncated)

    def get_references(self, example: Example) -> list[str]:
        """Return the assistant's last supervised message.

        Raises:
            RecordError: no message is supervised.
        """
        return [self.task.split_last_answer(example)[1]]

    def build_example(self, text: str) -> Example:
        """Build an example with the text as the user's message."""
        return Example({self.task.messages_field: [{ROLE: USER, CONTENT: text}]}, "the text")

    def _encode_conversation(self, messages: list[MessageDict], location: str) -> EncodedExample:
        """Encode a conversation of any length whose last message is the assistant's."""
        chat = self._tokenizer.tokenize_conversation(messages, location)
        ids, supervised = chat.token_ids, chat.supervised_positions
        if ids[-1] not in self.model.eos_token_ids:  # the template's end of turn is not the end-of-text token
            ids, supervised = [*ids, self.eos_token_id], [*supervised, len(ids)]
        first_supervised = supervised[0]
        return EncodedExample(
            self._tokenizer.prepend_bos(ids[:first_supervised]),
            ResponseTarget(tuple(ids[first_supervised:]), tuple(i - first_supervised for i in supervised)),
        )

    def _drop_last_exchange(self, messages: list[MessageDict], num_tokens: int, location: str) -> list[MessageDict]:
        """Shorten a conversation: drop its last exchange, or remove `num_tokens` tokens before its only answer."""
        earlier = find_supervised_messages(messages[:-1])
        if earlier:
            return messages[: earlier[-1] + 1]
        return self._truncate_longest_message(messages, range(len(messages) - 1), num_tokens, location)

    def _truncate_longest_message(
        self, messages: list[MessageDict], candidates: range, num_tokens: int, location: str
    ) -> list[MessageDict]:
        longest = max(candidates, key=lambda i: len(messages[i][CONTENT]), default=None)
        if longest is None or not messages[longest][CONTENT]:
            raise RecordError(
                location,
                f"{num_tokens} tokens too long even without its unsupervised text: shorten the supervised messages",
            )
        shorter = {**messages[longest], CONTENT: drop_last_tokens(self.model, messages[longest][CONTENT], num_tokens)}
        return [*messages[:longest], shorter, *messages[longest + 1 :]]
