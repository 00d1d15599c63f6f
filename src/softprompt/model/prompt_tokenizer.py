"""`PromptTokenizer`: how a base model's tokenizer encodes texts, answers and their special tokens.

Each kind of model has a subclass, which knows the special tokens around a text: `CausalPromptTokenizer`,
`MaskedPromptTokenizer`, `EncoderDecoderPromptTokenizer`.
"""

from __future__ import annotations

import copy
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property

from transformers import PreTrainedTokenizerBase

DECODER_START = 2**31 - 1
"""Id outside every vocabulary that marks where the decoder's input begins; stands for the decoder's start token."""


class PromptTokenizer(ABC):
    """A tokenizer of texts for one base model.

    Attributes:
        tokenizer: transformers tokenizer.
        bos_token_id: id that the tokenizer puts in front of every text (BOS, or a masked model's CLS), or None.
        text_validator: called with each text before tokenization; may raise to reject the text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self.tokenizer = tokenizer
        self.bos_token_id: int | None = _find_leading_bos(tokenizer)
        self.text_validator: Callable[[str], None] | None = None

    @abstractmethod
    def add_special_tokens(self, token_ids: list[int]) -> list[int]:
        """Add the special tokens that the model expects around a text."""

    def get_pooled_length(self, token_ids: Sequence[int]) -> int:
        """Return the prefix length that ends with the pooled token: by default the last one, which sees all others."""
        return len(token_ids)

    def encode_text(self, text: str) -> list[int]:
        """Tokenize a text and add the special tokens that the model expects around it."""
        return self.add_special_tokens(self.tokenize(text))

    def encode_answers(self, context: str, texts: Sequence[str]) -> list[list[int]]:
        """Tokenize several answers to a text that ends with `context`."""
        return self.encode_continuations(context, texts)

    def encode_answer(self, context: str, text: str) -> list[int]:
        """Tokenize an answer to a text that ends with `context`."""
        return self.encode_answers(context, [text])[0]

    def get_max_prompt_length(self, answer_length: int, max_length: int) -> int:
        """Return the maximum prompt length, in tokens, that leaves space for an answer.

        Args:
            answer_length: number of tokens of the answer.
            max_length: maximum number of tokens of the sequence.
        """
        return max_length - answer_length

    def tokenize(self, text: str, *, split_special_tokens: bool = False) -> list[int]:
        """Tokenize a text without adding special tokens.

        Args:
            text: text to tokenize.
            split_special_tokens: tokenize special tokens inside the text as plain text instead of as special tokens.
        """
        self.check_text(text)
        ids: list[int] = self.tokenizer(
            text, add_special_tokens=False, split_special_tokens=split_special_tokens
        ).input_ids
        return ids

    def tokenize_batch(self, texts: Sequence[str], *, split_special_tokens: bool = False) -> list[list[int]]:
        """Tokenize several texts, each as `tokenize` does, in one call."""
        for text in texts:
            self.check_text(text)
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None or backend.truncation is not None or backend.padding is not None:
            return [self.tokenize(text, split_special_tokens=split_special_tokens) for text in texts]
        backend.encode_special_tokens = split_special_tokens
        # Without character offsets, which takes a third less time than the call of the tokenizer.
        return [encoding.ids for encoding in backend.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode_continuation(self, context: str, text: str) -> list[int]:
        """Tokenize `text` as it would be tokenized after `context`, which may differ from tokenizing it alone."""
        return self.encode_continuations(context, [text])[0]

    def encode_continuations(self, context: str, texts: Sequence[str]) -> list[list[int]]:
        """Tokenize several texts, each as it would be tokenized after `context`.

        A text that merges with the end of `context` is tokenized alone.
        """
        [context_ids, *joint_ids] = self.tokenize_batch([context, *(context + text for text in texts)])
        length = len(context_ids)
        continuations = [ids[length:] if ids[:length] == context_ids else None for ids in joint_ids]
        alone = iter(self.tokenize_batch([text for text, ids in zip(texts, continuations, strict=True) if ids is None]))
        return [next(alone) if ids is None else ids for ids in continuations]

    def check_text(self, text: str) -> None:
        """Run `text_validator` on a text; errors that it raises are not caught."""
        if self.text_validator is not None:
            self.text_validator(text)

    @cached_property
    def special_token_ids(self) -> dict[str, int]:
        """Ids of special tokens by their text."""
        return {
            token.content: token_id for token_id, token in self.tokenizer.added_tokens_decoder.items() if token.special
        }

    @cached_property
    def _special_pattern(self) -> re.Pattern[str]:
        longest_first = sorted(self.special_token_ids, key=len, reverse=True)
        return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")

    def split_on_special_tokens(self, text: str) -> list[str | int]:
        """Split a text at its special tokens, which are replaced by their ids."""
        if not self.special_token_ids:
            return [text]
        return [self.special_token_ids.get(part, part) for part in self._special_pattern.split(text) if part]

    def clone(self) -> PromptTokenizer:
        """Return a copy with a transformers tokenizer of its own, for another thread: they are not thread-safe."""
        clone = copy.copy(self)
        clone.tokenizer = copy.deepcopy(self.tokenizer)
        return clone


class CausalPromptTokenizer(PromptTokenizer):
    """A tokenizer for causal models: BOS before the text, if the tokenizer adds one."""

    def add_special_tokens(self, token_ids: list[int]) -> list[int]:
        """Add BOS in front of a text, if the tokenizer does."""
        return token_ids if self.bos_token_id is None else [self.bos_token_id, *token_ids]


class MaskedPromptTokenizer(PromptTokenizer):
    """A tokenizer for masked models: CLS, text, SEP.

    Args:
        tokenizer: transformers tokenizer with a mask token.

    Attributes:
        mask_token_id: id of the mask token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        super().__init__(tokenizer)
        self.mask_token_id: int = tokenizer.mask_token_id

    def add_special_tokens(self, token_ids: list[int]) -> list[int]:
        """Add CLS before a text and SEP after it."""
        return [self.tokenizer.cls_token_id, *token_ids, self.tokenizer.sep_token_id]

    def get_pooled_length(self, token_ids: Sequence[int]) -> int:
        """Return the length up to the mask token if there is one, else up to CLS, which is first."""
        return token_ids.index(self.mask_token_id) + 1 if self.mask_token_id in token_ids else 1


class EncoderDecoderPromptTokenizer(PromptTokenizer):
    """A tokenizer for encoder-decoders: the encoder's text with its special tokens, then the decoder's tokens.

    Args:
        tokenizer: transformers tokenizer.
        decoder_prompt_ids: ids that the decoder begins with: its start token, and a forced first token if any.
        max_decoder_length: maximum number of tokens in the decoder.

    Attributes:
        decoder_prompt_ids: ids that the decoder begins with.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, decoder_prompt_ids: list[int], max_decoder_length: int):
        super().__init__(tokenizer)
        self.decoder_prompt_ids = decoder_prompt_ids
        self._max_decoder_length = max_decoder_length
        self._wrapping_ids = _find_wrapping_ids(tokenizer)

    def add_special_tokens(self, token_ids: list[int]) -> list[int]:
        """Add the tokenizer's special tokens around a text, then the ids that the decoder begins with."""
        before, after = self._wrapping_ids
        return [*before, *token_ids, *after, DECODER_START, *self.decoder_prompt_ids[1:]]

    def encode_answers(self, context: str, texts: Sequence[str]) -> list[list[int]]:  # noqa: ARG002
        """Tokenize answers without the text, since the decoder begins with them."""
        return self.tokenize_batch([text.lstrip(" ") for text in texts])

    def get_max_prompt_length(self, answer_length: int, max_length: int) -> int:
        """Return `max_length` plus the decoder's first ids, or 0 if the answer does not fit into the decoder."""
        fits = len(self.decoder_prompt_ids) + answer_length <= self._max_decoder_length
        return max_length + len(self.decoder_prompt_ids) if fits else 0


def _find_leading_bos(tokenizer: PreTrainedTokenizerBase) -> int | None:
    ids = tokenizer("a").input_ids
    return ids[0] if ids and ids[0] in (tokenizer.bos_token_id, tokenizer.cls_token_id) else None


def _find_wrapping_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the special tokens that the tokenizer puts before and after a text."""
    ids, text_ids = tokenizer("a").input_ids, tokenizer("a", add_special_tokens=False).input_ids
    start = next(i for i in range(len(ids)) if ids[i : i + len(text_ids)] == text_ids)
    return ids[:start], ids[start + len(text_ids) :]
