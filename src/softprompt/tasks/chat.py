"""Answer in a conversation, written by the model's own chat template. The loss is on what the assistant says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jinja2 import TemplateError
from pydantic import BaseModel, ConfigDict

from softprompt.data import Example
from softprompt.data.messages import ASSISTANT, CONTENT, ROLE, USER, Message, chat_messages, learnt_messages
from softprompt.errors import RowError, TaskError
from softprompt.model import CausalModel, FrozenModel
from softprompt.tasks.linear_head import LinearHead
from softprompt.tasks.objective import Row
from softprompt.tasks.template import shorten
from softprompt.tasks.writing import WritingObjective

#: Private characters that stand for the special tokens that people write, while the chat template writes its own.
MARKS = 0x100000
PLACE = "\U0010fffd"  # a private character that stands where a message's text begins

NOTHING_SAID = "the assistant says nothing in it, so there is nothing to learn"


class ChatTask(BaseModel):
    """A conversation in, the assistant's answer out.

    Attributes:
        messages_field: the field with the messages, each a `role` and a `content`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["chat"] = "chat"
    messages_field: str = "messages"

    def start_text(self, model: FrozenModel, examples: Sequence[Example], room: int) -> str:  # noqa: ARG002
        """What the virtual tokens say before they are trained: the task in words."""
        return "Read the conversation carefully and write the right answer, complete, correct and in good style.\n\n"

    @property
    def template(self) -> str:
        """The messages, all of them: the model's own template says how they stand."""
        return f"{{{self.messages_field}}}"

    @property
    def labels(self) -> tuple[str, ...]:
        """None: an answer is written, not chosen."""
        return ()

    def prepared(self, examples: Sequence[Example]) -> ChatTask:
        """The task as it is; in every example the assistant must say something.

        Raises:
            RowError: in one it does not.
        """
        for example in examples:
            if all(message[ROLE] != ASSISTANT for message in self.messages(example)):
                raise RowError(example.where, NOTHING_SAID)
        return self

    def has_answer(self, example: Example) -> bool:
        """Whether a message of the assistant's is learnt.

        Raises:
            RowError: there are no messages, or they cannot be read.
        """
        return bool(learnt_messages(self.messages(example)))

    def messages(self, example: Example) -> list[Message]:
        """The messages of an example.

        Raises:
            RowError: there are none, or they cannot be read.
        """
        if self.messages_field not in example.fields:
            fields = ", ".join(example.fields) or "none"
            raise RowError(example.where, f"no field {self.messages_field!r}; its fields are {fields}")
        return chat_messages(example.fields[self.messages_field], example.where)

    def asked(self, example: Example) -> dict[str, list[Message]]:
        """The field with the messages before the assistant's last that is learnt: what is asked, without the answer."""
        return {self.messages_field: self.divided(example)[0]}

    def divided(self, example: Example) -> tuple[list[Message], str]:
        """The messages before the assistant's last that is learnt, and what that one says.

        Raises:
            RowError: none is learnt.
        """
        messages = self.messages(example)
        last = _last_answer(messages, example.where)
        return [_plain(message) for message in messages[:last]], messages[last][CONTENT]

    def bind(self, model: FrozenModel, room: int, head: LinearHead | None = None) -> ChatObjective:
        """The task on a model that leaves `room` positions for a row.

        Raises:
            TaskError: the model is not causal or has no chat template, or there is a head, which can only choose among
                labels.
        """
        if head is not None:
            raise TaskError(
                'a linear head chooses among labels and cannot answer in a chat: choose `head="verbalizer"`'
            )
        if model.tokenizer.chat_template is None:
            raise TaskError(
                f"{model.name} has no chat template, so it was not made to chat: use a model that was, "
                "or write each row's conversation as input and output"
            )
        return ChatObjective(model, self, room)


def _last_answer(messages: list[Message], where: str) -> int:
    """The place of the assistant's last message that is learnt.

    Raises:
        RowError: none is.
    """
    places = learnt_messages(messages)
    if not places:
        raise RowError(where, NOTHING_SAID)
    return places[-1]


def _plain(message: Message) -> Message:
    """A message as chat templates read it."""
    return {ROLE: message[ROLE], CONTENT: message[CONTENT]}


@dataclass(frozen=True)
class _Rendered:
    """A conversation as the model sees it, and from where to where the assistant speaks in it."""

    text: str
    answers: list[tuple[int, int]]


class ChatObjective(WritingObjective):
    """A conversation; learnt are the assistant's messages and the token that ends each.

    Raises:
        TaskError: the model is not causal.
    """

    def __init__(self, model: FrozenModel, task: ChatTask, room: int):
        super().__init__(model, room)
        if not isinstance(model, CausalModel):
            raise TaskError(f"{model.name} is no causal model: a chat, whose answers stand in the text, needs one")
        self.task = task
        self._marks = {token: chr(MARKS + i) for i, token in enumerate(model.special_tokens.values())}
        self._written = {chr(MARKS + i): text for i, text in enumerate(model.special_tokens)}

    def encode(self, example: Example) -> Row:
        """A conversation up to the assistant's last message that is learnt.

        What does not fit is left out: the last exchanges, then the ends of the longest messages that are not learnt.

        Raises:
            RowError: the assistant says nothing, its first message does not fit, or the chat template refuses.
        """
        messages = self.task.messages(example)
        messages = messages[: _last_answer(messages, example.where) + 1]
        row = self._encoded(messages, example.where)
        cut = False
        while len(row) > self.room:
            messages = self._without(messages, len(row) - self.room, example.where)
            row, cut = self._encoded(messages, example.where), True
        return Row(row.prompt, row.response, cut=cut, learnt=row.learnt)

    def encode_prompt(self, example: Example, max_new_tokens: int) -> Row:
        """A conversation up to where the assistant's last answer begins, or behind the user's last message.

        Raises:
            SettingError: so many tokens leave no room for the conversation, or are none.
            RowError: the chat template refuses.
        """
        messages = self.task.messages(example)
        if messages[-1][ROLE] == ASSISTANT:
            messages = messages[:-1]
        return self._fitted(messages, max_new_tokens, example.where)

    def encode_unanswered(self, example: Example, max_new_tokens: int) -> Row:
        """A conversation up to where the assistant's last message that is learnt begins.

        Raises:
            SettingError, RowError: as `encode_prompt`, or no message is learnt.
        """
        return self._fitted(self.task.divided(example)[0], max_new_tokens, example.where)

    def _fitted(self, messages: list[Message], max_new_tokens: int, where: str) -> Row:
        """A conversation in which the assistant is about to speak, with room for that many tokens."""
        room = self.room_for_prompt(max_new_tokens)
        ids, cut = self._opened(messages, where), False
        while len(ids) > room:
            messages = self._shortened(messages, range(len(messages)), len(ids) - room, where)
            ids, cut = self._opened(messages, where), True
        return Row(ids, [], cut=cut)

    def references(self, example: Example) -> list[str]:
        """What the assistant says last, of what is learnt.

        Raises:
            RowError: nothing is.
        """
        return [self.task.divided(example)[1]]

    def asked(self, text: str) -> Example:
        """The text as the user's message."""
        return Example({self.task.messages_field: [{ROLE: USER, CONTENT: text}]}, "the text")

    def _opened(self, messages: list[Message], where: str) -> list[int]:
        """The ids of a conversation in which the assistant is about to speak."""
        text = self._open(messages, where)
        self.model.check_text(text)  # the special tokens that somebody wrote in it are put in tokens one by one
        return self._with_bos(self._tokens("", text))

    def _encoded(self, messages: list[Message], where: str) -> Row:
        """The ids of a conversation whose last message is the assistant's, whatever their number.

        What is given and what is learnt are put in tokens one behind the other, so that no token is partly either and
        an answer begins where it would be written.
        """
        rendered = self._rendered(messages, where)
        text, ids, learnt, behind = rendered.text, list[int](), list[int](), 0
        for begin, end in rendered.answers:
            ids += self._tokens(text[:behind], text[behind:begin])
            said = self._tokens(text[:begin], text[begin:end])
            learnt += range(len(ids), len(ids) + len(said))
            ids, behind = ids + said, end
        if ids[-1] not in self.model.eos_token_ids:  # the template ends a turn otherwise than the model ends a text
            learnt.append(len(ids))
            ids.append(self.end)
        first = learnt[0]
        return Row(self._with_bos(ids[:first]), ids[first:], learnt=tuple(i - first for i in learnt))

    def _marked(self, text: str) -> str:
        """What somebody says, with a mark for each special token in it: it is a word there and no turn's end."""
        return "".join(p if isinstance(p, str) else self._marks[p] for p in self.model.split_special(text))

    def _tokens(self, before: str, text: str) -> list[int]:
        """The ids of a part of the conversation that follows `before`, each mark as the words it stands for."""
        ids: list[int] = []
        for part in re.split(f"([{re.escape(''.join(self._written))}])", text) if self._written else [text]:
            if part in self._written:
                ids += self.model.tokenize(self._written[part], plain=True)
            elif part:
                ids += self.model.continuation(before, part)
            before = part
        return ids

    def _with_bos(self, ids: list[int]) -> list[int]:
        """The ids behind the BOS that belongs in front of a row, which some chat templates write and some do not."""
        bos = self.model.bos
        return ids if bos is None or ids[:1] == [bos] else [bos, *ids]

    def _rendered(self, messages: list[Message], where: str) -> _Rendered:
        """The conversation in the template, the messages to learn found by how the text grows with each."""
        text = self._text(messages, where)
        answers = []
        for i in learnt_messages(messages):
            before, behind = self._open(messages[:i], where), self._text(messages[: i + 1], where).rstrip()
            if not (text.startswith(before) and text.startswith(behind) and len(before) < len(behind)):
                raise RowError(
                    where,
                    f"the model's chat template writes message {i + 1} otherwise once the chat goes on: "
                    "give it chats with one answer each",
                )
            answers.append((len(before), len(behind)))
        return _Rendered(text, answers)

    def _open(self, messages: list[Message], where: str) -> str:
        """The conversation up to where the assistant's next message begins, which may be the first of all.

        No template writes a conversation without messages: before the first stands what stands before its text.
        """
        if messages:
            return self._text(messages, where, open_=True)
        text, place, _ = self._text([{ROLE: ASSISTANT, CONTENT: PLACE}], where).partition(PLACE)
        if not place:
            raise RowError(where, "the chat template leaves out what the assistant says first: begin with the user")
        return text

    def _text(self, messages: list[Message], where: str, open_: bool = False) -> str:
        marked = [_plain(message) | {CONTENT: self._marked(message[CONTENT])} for message in messages]
        try:
            text = self.model.tokenizer.apply_chat_template(marked, tokenize=False, add_generation_prompt=open_)
        except TemplateError as error:
            raise RowError(where, f"the model's chat template refuses it: {error}") from error
        return str(text)

    def _without(self, messages: list[Message], tokens: int, where: str) -> list[Message]:
        """A conversation that is shorter: without its last exchange, or `tokens` fewer in front of its only one."""
        earlier = learnt_messages(messages[:-1])
        if earlier:
            return messages[: earlier[-1] + 1]
        return self._shortened(messages, range(len(messages) - 1), tokens, where)

    def _shortened(self, messages: list[Message], which: range, tokens: int, where: str) -> list[Message]:
        longest = max(which, key=lambda i: len(messages[i][CONTENT]), default=None)
        if longest is None or not messages[longest][CONTENT]:
            raise RowError(where, f"without a word of its user it has {tokens} tokens more than fit")
        shorter = {**messages[longest], CONTENT: shorten(self.model, messages[longest][CONTENT], tokens)}
        return [*messages[:longest], shorter, *messages[longest + 1 :]]
