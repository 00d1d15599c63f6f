"""The lower bound of a text's number of tokens: it always holds, and is missing where a tokenizer drops characters."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from softprompt.model import load_meta_model
from softprompt.model.token_length_bound import TokenLengthBound
from tests.tiny import shared_model

BYTES = {f"<0x{byte:02X}>": byte for byte in range(256)}
UNUSUAL = "\x04\x14\U00040000é가각ﬁ①İßẛ̣ 　\u00a0\u200b\ud7a4好🙂<s></s>"


def wrapped(tokenizer: Tokenizer) -> Any:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False)


def sentencepiece(**model: Any) -> Any:
    """Make a tokenizer like older Llama models': spaces are characters, unknown characters become bytes."""
    vocabulary = {**BYTES, "▁": 256, "a": 257, "b": 258, "ab": 259, "▁ab": 260, "<unk>": 261}
    chosen = {"byte_fallback": True, "unk_token": "<unk>", "fuse_unk": True, **model}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("a", "b"), ("▁", "ab")], **chosen))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.ByteFallback()
    return wrapped(tokenizer)


def byte_level(*forms: Any, lacking: str = "", **added: bool) -> Any:
    alphabet = {each: i for i, each in enumerate(sorted({*pre_tokenizers.ByteLevel.alphabet()} - {*lacking}))}
    tokenizer = Tokenizer(models.BPE({**alphabet, "ab": 256, "abab": 257}, [("a", "b"), ("ab", "ab")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if forms:
        tokenizer.normalizer = normalizers.Sequence(list(forms))
    tokenizer.add_special_tokens([AddedToken("<s>", **added)])
    return wrapped(tokenizer)


TOKENIZERS = {
    "tiny": shared_model("llama").tokenizer,
    "sentencepiece": sentencepiece(),
    "every unknown letter": sentencepiece(byte_fallback=False, fuse_unk=False),
    "bytes": byte_level(),
    "composing": byte_level(normalizers.NFC()),
    "compatible": byte_level(normalizers.NFKC(), normalizers.Lowercase()),
    "lacking bytes": byte_level(lacking="ĄĔÀñ"),
    "stripping": byte_level(lstrip=True, rstrip=True),
}
texts = st.one_of(st.text(alphabet=UNUSUAL + "ab", max_size=40), st.text(max_size=40), st.text("ab ", max_size=60))


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=texts.filter(lambda text: text.encode("utf-8", "replace").decode() == text))
def test_the_bound_never_exceeds_the_token_count(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    lengths = TokenLengthBound.from_tokenizer(tokenizer)
    assert lengths is not None
    assert lengths.get_min_token_count(text) <= len(tokenizer(text, add_special_tokens=False).input_ids)


@pytest.mark.parametrize("name", ["tiny", "sentencepiece", "bytes", "lacking bytes"])
def test_the_bound_of_a_long_text_is_at_least_its_length_over_the_longest_token(name: str) -> None:
    lengths = TokenLengthBound.from_tokenizer(TOKENIZERS[name])
    assert lengths is not None
    assert lengths.get_min_token_count("ab" * 10_000) >= 20_000 / lengths.max_token_characters


def test_the_bundled_models_tokenizer_has_a_bound() -> None:
    tokenizer = load_meta_model("smollm2-135m").tokenizer
    lengths = TokenLengthBound.from_tokenizer(tokenizer)
    assert lengths is not None
    assert 1000 < lengths.get_min_token_count("ab" * 500_000) <= 500_000
    assert lengths.get_min_token_count("\x04" * 1_000_000) == 0  # the vocabulary has no token for this character


def leaving_out(**parts: Any) -> Any:
    tokenizer = Tokenizer(models.BPE({"a": 0, "<unk>": 1}, [], **parts.pop("model", {})))
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    return wrapped(tokenizer)


@pytest.mark.parametrize(
    "tokenizer",
    [
        leaving_out(),
        leaving_out(model={"unk_token": "<unk>", "fuse_unk": True}),
        leaving_out(model={"unk_token": "<unk>"}, normalizer=normalizers.Strip()),
        byte_level(lacking="Ģ"),
        leaving_out(model={"unk_token": "<unk>"}, normalizer=normalizers.Replace("aa", "a")),
        leaving_out(model={"unk_token": "<unk>"}, pre_tokenizer=pre_tokenizers.WhitespaceSplit()),
        leaving_out(model={"unk_token": "<unk>"}, pre_tokenizer=pre_tokenizers.Split("a", "removed")),
        wrapped(Tokenizer(models.WordPiece({"a": 0, "<unk>": 1}, unk_token="<unk>"))),
        wrapped(Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0))),
    ],
    ids=[
        "drops",
        "fuses",
        "strips",
        "lacks a continuation byte",
        "shortens",
        "splits at spaces",
        "removes",
        "words",
        "unigram",
    ],
)
def test_a_tokenizer_that_may_leave_characters_out_has_no_bound(tokenizer: Any) -> None:
    assert TokenLengthBound.from_tokenizer(tokenizer) is None
