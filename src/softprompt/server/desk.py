"""From what somebody asks to the tokens of rows, as the prompt saw its texts when it was trained."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from softprompt.data import Example
from softprompt.errors import TaskError
from softprompt.model import FrozenModel, Payload, Prefix
from softprompt.server.fair_thread import FairThread
from softprompt.server.input_names import naming_input
from softprompt.server.refusal import Refusal
from softprompt.server.shelved import ROOM, Shelved
from softprompt.server.text_length import TextLengthCheck
from softprompt.tasks import Objective, Row
from softprompt.tasks.chat import ChatTask
from softprompt.tasks.classification import ClassificationObjective
from softprompt.tasks.generation import GenerationObjective
from softprompt.tasks.objective import arranged
from softprompt.tasks.writing import WritingObjective

T = TypeVar("T")
Bound = TypeVar("Bound", bound=Objective)

AT_A_TIME = 2**15  # characters that are put in tokens before it is another's turn
EACH = 100  # characters that a text counts more, for what is done with every one


@dataclass(frozen=True)
class Asked:
    """A text as a row that is to be continued.

    Attributes:
        ids: its tokens as they meet the payload; negative ones are virtual.
        positions: that stand in front of them.
        payload: the prompt, or None for the bare base.
        prompt: the hash of the prompt's content; none for the base.
        is_answer: what follows is an answer behind a template, not the text's own continuation.
    """

    ids: tuple[int, ...]
    positions: int
    payload: Payload | None
    prompt: str
    is_answer: bool

    @classmethod
    def of(cls, row: Row, shelved: Shelved | None, *, is_answer: bool) -> Asked:
        """A row behind a prompt."""
        payload = None if shelved is None else shelved.payload
        positions = payload.num_positions if isinstance(payload, Prefix) else 0
        prompt = "" if shelved is None else shelved.content
        return cls(tuple(arranged(row, payload)[0]), positions, payload, prompt, is_answer)

    @property
    def num_tokens(self) -> int:
        """Tokens of text. Virtual tokens are none, nor is what a compiled prompt holds already."""
        return self.text_tokens(len(self.ids))

    def text_tokens(self, count: int) -> int:
        """Those among its first `count` tokens."""
        return sum(token >= 0 for token in self.ids[:count])

    @property
    def num_positions(self) -> int:
        """Positions that it takes in its row."""
        return self.positions + len(self.ids)


def divide_texts(texts: Sequence[object]) -> list[range]:
    """The texts of a request in parts that are read one after the other, others' turns in between."""
    parts, first, characters = [], 0, 0
    for index, text in enumerate(texts):
        characters += _size_of(text)
        if characters > AT_A_TIME and index > first:
            parts.append(range(first, index))
            first, characters = index, _size_of(text)
    return [*parts, range(first, len(texts))]


def _size_of(text: object) -> int:
    """How long it takes to read, in characters: a text, its fields, or its tokens."""
    values = text.values() if isinstance(text, Mapping) else [text]
    return EACH + sum(len(value) for value in values if isinstance(value, str | list | tuple))


def apart(model: FrozenModel) -> FrozenModel:
    """The model around a tokenizer of its own: a tokenizer is changed while it is used, so each thread has one."""
    own = copy.copy(model)
    own.tokenizer = copy.deepcopy(model.tokenizer)
    return own


class Desk:
    """Reads requests, one after the other, in a thread of its own and with a tokenizer of its own.

    Args:
        model: the server's.
        length: positions that a row may have: what cannot fit is refused before it is put in tokens. None to read all.
        most_jobs: that may wait to be read, half of them of one tenant.

    Attributes:
        model: the model, around that tokenizer.
    """

    def __init__(self, model: FrozenModel, length: int | None = None, most_jobs: int = 4096):
        self.model = apart(model)
        if length is not None:
            self.model.text_check = TextLengthCheck(self.model.tokenizer, length)
        self._thread = FairThread("tokens", most_jobs)

    async def do(self, tenant: str, work: Callable[[], T]) -> T:
        """Have its thread do something with the tokenizer; tenants take turns, by the seconds that theirs took.

        Raises:
            Busy: too many jobs wait.
        """
        return await self._thread.do(tenant, work)

    def close(self) -> None:
        """End the thread."""
        self._thread.close()

    def chat(
        self, shelved: Shelved | None, messages: Sequence[Mapping[str, str]], fields: Mapping[str, Any] | None
    ) -> Asked:
        """A chat: all of it in the model's chat template, or for a prompt that writes, its user's last message.

        Raises:
            Refusal: the prompt does not write, the model does not chat, or nobody asked anything.
            TaskError, RowError: the template has other fields, or refuses.
        """
        if messages[-1]["role"] == "assistant":
            raise Refusal(400, "The assistant has said the last message itself: end with a user's.", param="messages")
        objective = self._objective(shelved)
        if isinstance(objective, GenerationObjective):
            said = [each["content"] for each in messages if each["role"] == "user"]
            if not said and fields is None:
                raise Refusal(400, "No message is from the user.", param="messages")
            return self._answered(shelved, objective, said[-1] if said else "", fields)
        _check_no_fields(fields)
        row = objective.encode_prompt(Example({"messages": list(messages)}, "messages"), 1)
        return Asked.of(row, shelved, is_answer=False)

    def text(self, shelved: Shelved | None, text: str | Sequence[int], fields: Mapping[str, Any] | None) -> Asked:
        """A text: as it is for the base, in the template's field for a prompt that writes, in a chat the user's.

        Raises:
            Refusal: the prompt does not write, or it is for text and tokens were given.
            TaskError, RowError: the template has other fields, or refuses.
        """
        if shelved is None:
            _check_no_fields(fields)
            return Asked.of(Row(self._raw(text), []), None, is_answer=False)
        if not isinstance(text, str):
            raise Refusal(400, "A prompt reads text, which its template surrounds: send no tokens.", param="prompt")
        objective = self._objective(shelved)
        return self._answered(shelved, objective, text, fields)

    def labelled(self, shelved: Shelved, texts: Sequence[str | Mapping[str, Any]], names: Sequence[str]) -> list[Row]:
        """Texts, or the fields of each, as rows whose label is to be told; `names` are the texts' in the request.

        Raises:
            Refusal: the prompt does not tell labels of texts, or its template has other fields.
        """
        objective = shelved.objective
        if not isinstance(objective, ClassificationObjective):
            kind = shelved.task.kind
            other = (
                "/v1/chat/completions" if isinstance(objective, WritingObjective) else "`softprompt tag` or `extract`"
            )
            raise Refusal(400, f"This prompt's task is {kind}, not classification: use {other}.", param="model")
        objective = self._own(objective)
        rows = []
        for name, text in zip(names, texts, strict=True):
            with naming_input(name):
                rows.append(objective.encode_text(_example(objective.template.fields, text, name)))
        return rows

    def _objective(self, shelved: Shelved | None) -> WritingObjective:
        """What writes: the prompt's own task, or a chat with the base."""
        if shelved is None:
            if self.model.tokenizer.chat_template is None:
                message = "The base model has no chat template, so it does not chat: use /v1/completions."
                raise Refusal(400, message, param="model", code="no_chat_template")
            return ChatTask().bind(self.model, ROOM)
        if not isinstance(shelved.objective, WritingObjective):
            other = "/v1/classify" if isinstance(shelved.objective, ClassificationObjective) else "another prompt"
            message = f"This prompt's task is {shelved.task.kind}, so it writes no response: use {other}."
            raise Refusal(400, message, param="model", code="wrong_task")
        return self._own(shelved.objective)

    def _own(self, objective: Bound) -> Bound:
        """The objective, reading with this thread's tokenizer."""
        own = copy.copy(objective)
        own.model = self.model
        return own

    def _answered(
        self, shelved: Shelved | None, objective: WritingObjective, text: str, fields: Mapping[str, Any] | None
    ) -> Asked:
        if isinstance(objective, GenerationObjective):
            example = _example(objective.template.fields, text if fields is None else fields, "fields")
        else:
            _check_no_fields(fields)
            example = objective.asked(text)
        row = objective.encode_prompt(example, 1)
        return Asked.of(row, shelved, is_answer=isinstance(objective, GenerationObjective))

    def _raw(self, text: str | Sequence[int]) -> list[int]:
        if isinstance(text, str):
            ids = self.model.tokenize(text)
            ids = self.model.row(ids[1:] if ids[:1] == [self.model.bos] else ids)  # one BOS, whoever writes it
        else:
            ids = list(text)
            if max(ids) >= self.model.shape.vocab_size:
                message = f"Token {max(ids)} is none: the model has {self.model.shape.vocab_size}, counted from 0."
                raise Refusal(400, message, param="prompt")
        if not ids:
            raise Refusal(400, "There is nothing to go on with: the text has no token.", param="prompt")
        return ids


def _example(names: Sequence[str], given: str | Mapping[str, Any], where: str) -> Example:
    """A text, or fields, as they fill a template.

    Raises:
        TaskError: the template has other fields.
    """
    if isinstance(given, str):
        if len(names) == 1:
            return Example({names[0]: given}, where)
        raise TaskError(
            f"this prompt's template has the fields {', '.join(names)}: one text does not fill them, send `fields`"
        )
    if others := [name for name in given if name not in names]:
        raise TaskError(f"this prompt's template has no field {others[0]!r}: its fields are {', '.join(names)}")
    return Example(given, where)


def _check_no_fields(fields: Mapping[str, Any] | None) -> None:
    if fields is not None:
        raise Refusal(400, "There is no template with fields here: leave out `fields`.", param="fields")
