"""Bounds the characters per token of a tokenizer, so that a text is known to be too long before it is tokenized.

The bound always holds. So a tokenizer that drops characters, or maps an unknown word of any length to one token, has no
bound.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tokenizers import models
from transformers import PreTrainedTokenizerBase

MAX_COMPOSED_CHARACTERS = 4  # most characters that Unicode composes into one
LOSSLESS_NORMALIZERS = ("Prepend", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "ByteLevel", "Replace", "Sequence")
LOSSLESS_PRE_TOKENIZERS = ("ByteLevel", "Metaspace", "Split", "Digits", "Punctuation", "UnicodeScripts", "Sequence")

NormalizationForm = Literal["NFC", "NFKC"]


@dataclass(frozen=True)
class TokenLengthBound:
    """Upper bound of the characters per token.

    Attributes:
        max_token_characters: characters of the longest token.
        normalization_form: Unicode form that the tokenizer normalizes texts to; None without normalization.
        strips_whitespace: whether whitespace next to some tokens is dropped.
        dropped: characters without a token, which the tokenizer drops.
    """

    max_token_characters: int
    normalization_form: NormalizationForm | None
    strips_whitespace: bool
    dropped: str = ""

    @classmethod
    def from_tokenizer(cls, tokenizer: PreTrainedTokenizerBase) -> TokenLengthBound | None:
        """Return the bound of a tokenizer, or None if it has no bound."""
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            return None
        normalizers = list(_iterate_components(backend.normalizer))
        pre_tokenizers = list(_iterate_components(backend.pre_tokenizer))
        vocabulary = backend.get_vocab(with_added_tokens=True)
        has_bytes = "ByteLevel" in [component["type"] for component in (*normalizers, *pre_tokenizers)]
        if not (
            all(map(_is_lossless_normalizer, normalizers))
            and all(map(_is_lossless_pre_tokenizer, pre_tokenizers))
            and _covers_all_characters(backend.model, vocabulary, has_bytes)
        ):
            return None
        forms = {normalizer["type"] for normalizer in normalizers} & {"NFC", "NFKC"}
        strips = any(token.lstrip or token.rstrip for token in backend.get_added_tokens_decoder().values())
        form: NormalizationForm | None = "NFKC" if "NFKC" in forms else "NFC" if forms else None
        return cls(max(map(len, vocabulary)), form, strips, _find_dropped_ascii(vocabulary) if has_bytes else "")

    def get_min_token_count(self, text: str) -> int:
        """Return a lower bound of the number of tokens of a text."""
        characters = len(text)
        if characters > self.max_token_characters and self.strips_whitespace:
            characters = sum(map(len, text.split()))
        if (
            characters > self.max_token_characters
            and self.normalization_form is not None
            and not unicodedata.is_normalized(self.normalization_form, text)
        ):
            characters //= MAX_COMPOSED_CHARACTERS
        if characters > self.max_token_characters and self.dropped:
            characters -= sum(map(text.count, self.dropped))
        return max(0, -(-characters // self.max_token_characters))


def _iterate_components(component: Any) -> Iterator[dict[str, Any]]:
    """Yield the specification of a normalizer or pre-tokenizer, and of its parts."""
    if component is not None:
        yield from _flatten_spec(json.loads(component.__getstate__()))


def _flatten_spec(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield spec
    for inner in (*spec.get("normalizers", ()), *spec.get("pretokenizers", ())):
        yield from _flatten_spec(inner)


def _is_lossless_normalizer(normalizer: dict[str, Any]) -> bool:
    """Return True if the normalizer drops no character, except by composition."""
    if normalizer["type"] == "Replace":
        pattern = normalizer["pattern"].get("String")
        return pattern is not None and len(normalizer["content"]) >= len(pattern)
    return normalizer["type"] in LOSSLESS_NORMALIZERS


def _is_lossless_pre_tokenizer(pre_tokenizer: dict[str, Any]) -> bool:
    """Return True if the pre-tokenizer drops no character."""
    return pre_tokenizer["type"] in LOSSLESS_PRE_TOKENIZERS and pre_tokenizer.get("behavior") != "Removed"


def _covers_all_characters(model: models.Model, vocabulary: dict[str, int], has_bytes: bool) -> bool:
    """Return True if every character becomes part of a token that is no longer than the longest of the vocabulary."""
    if not isinstance(model, models.BPE):
        return False
    if has_bytes:  # the UTF-8 form of every character outside ASCII ends with one of these bytes
        return all(_BYTE_LETTERS[byte] in vocabulary for byte in range(0x80, 0xC0))
    if model.byte_fallback and all(f"<0x{byte:02X}>" in vocabulary for byte in range(256)):
        return True
    return model.unk_token in vocabulary and not model.fuse_unk


def _find_dropped_ascii(vocabulary: dict[str, int]) -> str:
    """Return the ASCII characters without a token; some vocabularies lack rare control characters."""
    return "".join(chr(byte) for byte in range(0x80) if _BYTE_LETTERS[byte] not in vocabulary)


def _byte_letters() -> list[str]:
    """Return the character that represents each byte in a byte-level vocabulary (GPT-2: Radford et al. 2019)."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = (chr(code) for code in range(0x100, 0x200))
    return [chr(byte) if byte in printable else next(others) for byte in range(0x100)]


_BYTE_LETTERS = _byte_letters()
