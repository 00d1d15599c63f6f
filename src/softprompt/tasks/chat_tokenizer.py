"""Tokenize conversations: the model's chat template renders the text, and special tokens in messages stay text."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass

from jinja2 import TemplateError

from softprompt.data.formats.chat_messages import (
    ASSISTANT,
    CONTENT,
    ROLE,
    SYSTEM,
    USER,
    MessageDict,
    drop_weight,
    find_supervised_messages,
)
from softprompt.errors import RecordError
from softprompt.model import FrozenModel
from softprompt.tasks.demonstrations import BLANK_LINE

#: Private-use characters that replace special tokens in message texts, unlike those that the chat template writes.
SHIELD_BASE = 0x100000
CONTENT_PLACEHOLDER = "\U0010fffd"  # a private-use character that marks where a message's text begins


@dataclass(frozen=True)
class TokenizedChat:
    """A conversation as token ids, without BOS unless the chat template writes it.

    Attributes:
        token_ids: token ids of the conversation.
        supervised_positions: indices into `token_ids` of the tokens of supervised messages.
    """

    token_ids: list[int]
    supervised_positions: list[int]


@dataclass(frozen=True)
class _RenderedChat:
    """A conversation as text, with the character spans of the supervised messages."""

    text: str
    answer_spans: list[tuple[int, int]]


class ChatTokenizer:
    """A tokenizer of conversations.

    Args:
        model: model with a chat template.
        omits_system_message: whether conversations without a system message are rendered as they continue after the
            text of one. Then the virtual tokens contain the conversation up to there, see `tokenize_system_message`.
    """

    def __init__(self, model: FrozenModel, *, omits_system_message: bool = False):
        self.model, self._omits_system_message = model, omits_system_message
        # Some tokenizers begin a text with a space, unless it continues another one.
        self._text_before = CONTENT_PLACEHOLDER if omits_system_message else ""
        self._shields = {
            token: chr(SHIELD_BASE + i) for i, token in enumerate(model.prompt_tokenizer.special_token_ids.values())
        }
        self._text_by_shield = {
            chr(SHIELD_BASE + i): text for i, text in enumerate(model.prompt_tokenizer.special_token_ids)
        }

    def with_model(self, model: FrozenModel) -> ChatTokenizer:
        """Return a copy that uses another copy of the model."""
        tokenizer = copy.copy(self)
        tokenizer.model = model
        return tokenizer

    def tokenize_system_message(self, text: str) -> list[int] | None:
        """Return the ids of a conversation's beginning up to the end of a system message's text, with BOS.

        What follows the text depends on the template: the end of a system turn, or the user's first message.

        Returns:
            The token ids, or None if the chat template has no place for a system message in front of all others.
        """
        system_text = self._shield_special_tokens(text) + CONTENT_PLACEHOLDER  # the template may change the text
        user, assistant = {ROLE: USER, CONTENT: "."}, {ROLE: ASSISTANT, CONTENT: "."}
        try:
            rendered = [
                self._apply_full_template([{ROLE: SYSTEM, CONTENT: system_text}, *messages], "the chat template", True)
                for messages in ([user], [user, assistant, user])
            ]
        except RecordError:  # raised by templates without system messages
            return None
        prefixes = {(marker, before) for before, marker, _ in (r.rpartition(CONTENT_PLACEHOLDER) for r in rendered)}
        marker, text_before = prefixes.pop()
        if prefixes or not marker:  # the text is in front of the user's last message, or dropped
            return None
        return self.prepend_bos(self._tokenize_shielded("", text_before))

    def _render_after_system_message(
        self, messages: list[MessageDict], location: str, add_generation_prompt: bool
    ) -> str:
        """Render a conversation with a system message in front, and return what follows its text.

        The text of the conversation's own system message, if it has one, continues that of the prompt's.

        Raises:
            RecordError: the chat template fails, or has no place for a system message.
        """
        system_text = CONTENT_PLACEHOLDER
        if messages[0][ROLE] == SYSTEM:
            system_text, messages = f"{CONTENT_PLACEHOLDER}{BLANK_LINE}{messages[0][CONTENT]}", messages[1:]
        system_message: MessageDict = {ROLE: SYSTEM, CONTENT: system_text}
        text = self._apply_full_template([system_message, *messages], location, add_generation_prompt)
        _, placeholder, after = text.partition(CONTENT_PLACEHOLDER)
        if not placeholder:
            raise RecordError(location, "the model's chat template has no place for the prompt's system message")
        return after

    def tokenize_generation_prompt(self, messages: list[MessageDict], location: str) -> list[int]:
        """Return the ids of a conversation up to the assistant's next answer, with BOS.

        Raises:
            RecordError: the chat template fails.
        """
        text = self._render_generation_prompt(messages, location)
        self.model.prompt_tokenizer.check_text(text)  # checked as a whole, because parts of it are tokenized one by one
        return self.prepend_bos(self._tokenize_shielded(self._text_before, text))

    def tokenize_conversation(self, messages: list[MessageDict], location: str) -> TokenizedChat:
        """Tokenize a conversation whose last message is the assistant's.

        Supervised and other text is tokenized separately. So no token belongs to both, and an answer begins at the same
        token as in generation.

        Raises:
            RecordError: the chat template fails, or renders a message differently in a longer chat.
        """
        rendered = self._render_conversation(messages, location)
        text, ids, supervised, previous_end = rendered.text, list[int](), list[int](), 0
        for start, end in rendered.answer_spans:
            ids += self._tokenize_shielded(self._text_before + text[:previous_end], text[previous_end:start])
            answer_ids = self._tokenize_shielded(self._text_before + text[:start], text[start:end])
            supervised += range(len(ids), len(ids) + len(answer_ids))
            ids, previous_end = ids + answer_ids, end
        return TokenizedChat(ids, supervised)

    def prepend_bos(self, token_ids: list[int]) -> list[int]:
        """Prepend BOS unless the model has none or the chat template wrote it already."""
        bos = self.model.prompt_tokenizer.bos_token_id
        return token_ids if bos is None or token_ids[:1] == [bos] else [bos, *token_ids]

    def _shield_special_tokens(self, text: str) -> str:
        """Replace special tokens in a message by shields, so that they are text there and cannot end a turn."""
        return "".join(
            part if isinstance(part, str) else self._shields[part]
            for part in self.model.prompt_tokenizer.split_on_special_tokens(text)
        )

    def _tokenize_shielded(self, context: str, text: str) -> list[int]:
        """Return the ids of text that follows `context`. A shield is tokenized as the text that it replaces."""
        ids: list[int] = []
        for part in (
            re.split(f"([{re.escape(''.join(self._text_by_shield))}])", text) if self._text_by_shield else [text]
        ):
            if part in self._text_by_shield:
                ids += self.model.prompt_tokenizer.tokenize(self._text_by_shield[part], split_special_tokens=True)
            elif part:
                ids += self.model.prompt_tokenizer.encode_continuation(context, part)
            context = part
        return ids

    def _render_conversation(self, messages: list[MessageDict], location: str) -> _RenderedChat:
        """Render a conversation. Spans of supervised messages are found by how the text grows with each message."""
        text = self._apply_chat_template(messages, location)
        answer_spans = []
        for i in find_supervised_messages(messages):
            text_before, text_through = (
                self._render_generation_prompt(messages[:i], location),
                self._apply_chat_template(messages[: i + 1], location).rstrip(),
            )
            if not (
                text.startswith(text_before) and text.startswith(text_through) and len(text_before) < len(text_through)
            ):
                raise RecordError(
                    location,
                    f"the model's chat template renders message {i + 1} differently in a longer chat: "
                    "use chats with one answer each",
                )
            answer_spans.append((len(text_before), len(text_through)))
        return _RenderedChat(text, answer_spans)

    def _render_generation_prompt(self, messages: list[MessageDict], location: str) -> str:
        """Render a conversation up to where the assistant's next message begins, which may be the first message.

        Templates cannot render an empty conversation. Then the text before the assistant's first message is returned.
        """
        if messages:
            return self._apply_chat_template(messages, location, add_generation_prompt=True)
        text, marker, _ = self._apply_chat_template(
            [{ROLE: ASSISTANT, CONTENT: CONTENT_PLACEHOLDER}], location
        ).partition(CONTENT_PLACEHOLDER)
        if not marker:
            raise RecordError(
                location, "the chat template drops an assistant message at the start: begin with a user message"
            )
        return text

    def _apply_chat_template(
        self, messages: list[MessageDict], location: str, add_generation_prompt: bool = False
    ) -> str:
        """Render a conversation, or what follows the text of the system message that the virtual tokens contain."""
        if self._omits_system_message:
            return self._render_after_system_message(messages, location, add_generation_prompt)
        return self._apply_full_template(messages, location, add_generation_prompt)

    def _apply_full_template(self, messages: list[MessageDict], location: str, add_generation_prompt: bool) -> str:
        shielded = [
            drop_weight(message) | {CONTENT: self._shield_special_tokens(message[CONTENT])} for message in messages
        ]
        try:
            text = self.model.tokenizer.apply_chat_template(
                shielded, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        except TemplateError as error:
            raise RecordError(location, f"the model's chat template rejects the conversation: {error}") from error
        return str(text)
