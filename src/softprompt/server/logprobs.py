"""How probable tokens were, as chats and as completions tell it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from softprompt.engine import Written
from softprompt.model.detokenizer import BROKEN
from softprompt.server.protocol.chat import ChatLogprobs, ContentLogprob, TokenLogprob
from softprompt.server.protocol.completions import CompletionLogprobs

REMEMBERED = 16_384  # tokens whose texts are kept


class Words:
    """What tokens look like by themselves.

    Args:
        tokenizer: is only asked to decode, so it never changes.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self._tokenizer = tokenizer
        self._texts = lru_cache(REMEMBERED)(self._decode)  # a step may tell twenty tokens of each of its rows

    def text(self, token: int) -> str:
        """A token; where it is a part of a character, with signs that say so."""
        return self._texts(token)

    def _decode(self, token: int) -> str:
        return str(self._tokenizer.decode([token]))

    def in_chat(self, written: Sequence[Written]) -> ChatLogprobs:
        """Tokens of a chat's answer."""
        return ChatLogprobs(content=[self._content(each) for each in written if each.logprob is not None])

    def in_completion(self, written: Sequence[Written], offset: int = 0) -> CompletionLogprobs:
        """Tokens of a completion, whose first begins at `offset` of its characters."""
        told = [each for each in written if each.token is not None and each.logprob is not None]
        tokens, offsets = [self.text(each.token) for each in told if each.token is not None], []
        for token in tokens:
            offsets.append(offset)
            offset += len(token)
        return CompletionLogprobs(
            text_offset=offsets,
            token_logprobs=[each.logprob for each in told if each.logprob is not None],
            tokens=tokens,
            top_logprobs=[{self.text(token): value for token, value in each.alternatives} for each in told],
        )

    def _content(self, written: Written) -> ContentLogprob:
        assert written.token is not None
        assert written.logprob is not None
        own = self._one(written.token, written.logprob)
        alternatives = [self._one(token, value) for token, value in written.alternatives]
        return ContentLogprob(**own.model_dump(), top_logprobs=alternatives)

    def _one(self, token: int, value: float) -> TokenLogprob:
        text = self.text(token)
        return TokenLogprob(token=text, logprob=value, bytes=None if BROKEN in text else list(text.encode()))
