"""How many characters one token of a tokenizer can stand for at most, so that a long text is known to be too long.

A bound is only told where it is certain: a tokenizer that leaves out characters, or puts an unknown word in one token
however long it is, has none.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tokenizers import models
from transformers import PreTrainedTokenizerBase

COMPOSED = 4  # characters that Unicode composes into one, at most
KEEPING = ("Prepend", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "ByteLevel", "Replace", "Sequence")
SPLITTING = ("ByteLevel", "Metaspace", "Split", "Digits", "Punctuation", "UnicodeScripts", "Sequence")

Form = Literal["NFC", "NFKC"]


@dataclass(frozen=True)
class TokenLengths:
    """What a token stands for at most.

    Attributes:
        longest: characters of the longest token.
        form: the tokenizer composes characters by this form of Unicode; None if by none.
        strips: white space beside some tokens is left out.
        dropped: characters that no token stands for, which are left out.
    """

    longest: int
    form: Form | None
    strips: bool
    dropped: str = ""

    @classmethod
    def from_tokenizer(cls, tokenizer: PreTrainedTokenizerBase) -> TokenLengths | None:
        """A tokenizer's; None where there is no bound."""
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            return None
        normalizers, splitters = list(_parts(backend.normalizer)), list(_parts(backend.pre_tokenizer))
        vocabulary = backend.get_vocab(with_added_tokens=True)
        has_bytes = "ByteLevel" in [each["type"] for each in (*normalizers, *splitters)]
        if not (
            all(map(_keeps, normalizers))
            and all(map(_only_splits, splitters))
            and _names_all(backend.model, vocabulary, has_bytes)
        ):
            return None
        forms = [each["type"] for each in normalizers if each["type"] in ("NFC", "NFKC")]
        strips = any(token.lstrip or token.rstrip for token in backend.get_added_tokens_decoder().values())
        form: Form | None = "NFKC" if "NFKC" in forms else "NFC" if forms else None
        return cls(max(map(len, vocabulary)), form, strips, _dropped(vocabulary) if has_bytes else "")

    def least_tokens(self, text: str) -> int:
        """As how many tokens a text comes out at least."""
        characters = len(text)
        if characters > self.longest and self.strips:
            characters = sum(map(len, text.split()))
        if characters > self.longest and self.form is not None and not unicodedata.is_normalized(self.form, text):
            characters //= COMPOSED
        if characters > self.longest and self.dropped:
            characters -= sum(map(text.count, self.dropped))
        return max(0, -(-characters // self.longest))


def _parts(component: Any) -> Iterator[dict[str, Any]]:
    """A normalizer or a pre-tokenizer as it is written, and all that it is made of."""
    if component is not None:
        yield from _flattened(json.loads(component.__getstate__()))


def _flattened(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield spec
    for inner in (*spec.get("normalizers", ()), *spec.get("pretokenizers", ())):
        yield from _flattened(inner)


def _keeps(normalizer: dict[str, Any]) -> bool:
    """Whether it leaves no character out, but for composing some."""
    if normalizer["type"] == "Replace":
        pattern = normalizer["pattern"].get("String")
        return pattern is not None and len(normalizer["content"]) >= len(pattern)
    return normalizer["type"] in KEEPING


def _only_splits(splitter: dict[str, Any]) -> bool:
    """Whether it leaves no character out."""
    return splitter["type"] in SPLITTING and splitter.get("behavior") != "Removed"


def _names_all(model: models.Model, vocabulary: dict[str, int], has_bytes: bool) -> bool:
    """Whether every character of a text is in some token, no longer than the longest of the vocabulary."""
    if not isinstance(model, models.BPE):
        return False
    if has_bytes:  # every character but ASCII's ends with a byte of those
        return all(_BYTE_LETTERS[byte] in vocabulary for byte in range(0x80, 0xC0))
    if model.byte_fallback and all(f"<0x{byte:02X}>" in vocabulary for byte in range(256)):
        return True
    return model.unk_token in vocabulary and not model.fuse_unk


def _dropped(vocabulary: dict[str, int]) -> str:
    """ASCII's characters that have no token of their own; a vocabulary may lack some that hardly any text has."""
    return "".join(chr(byte) for byte in range(0x80) if _BYTE_LETTERS[byte] not in vocabulary)


def _byte_letters() -> list[str]:
    """The letter that stands for each byte in a vocabulary of bytes (GPT-2's: Radford et al. 2019)."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = (chr(code) for code in range(0x100, 0x200))
    return [chr(byte) if byte in printable else next(others) for byte in range(0x100)]


_BYTE_LETTERS = _byte_letters()
