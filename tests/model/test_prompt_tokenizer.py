"""Tokenization of texts, answers and their special tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.model.prompt_tokenizer import DECODER_START
from tests.tiny import shared_model

LLAMA = shared_model("llama").prompt_tokenizer
SPECIAL = {"llama": ([0], []), "qwen2": ([], []), "bert": ([0], [1]), "t5": ([], [1, DECODER_START])}

texts = st.text(st.characters(codec="utf-8", exclude_characters="[]"), max_size=30)


@given(before=texts, text=texts)
def test_continuation_is_tokenized_in_context(before: str, text: str) -> None:
    ids = LLAMA.encode_continuation(before, text)
    assert LLAMA.tokenizer.decode(ids) == text
    head = LLAMA.tokenize(before)
    whole = LLAMA.tokenize(before + text)
    assert ids == (whole[len(head) :] if whole[: len(head)] == head else LLAMA.tokenize(text))


@given(st.lists(texts, max_size=5), st.booleans())
def test_a_batch_is_tokenized_like_its_texts(batch: list[str], split: bool) -> None:
    batch = [text + "</s>" for text in batch]
    expected = [LLAMA.tokenize(text, split_special_tokens=split) for text in batch]
    assert LLAMA.tokenize_batch(batch, split_special_tokens=split) == expected


@pytest.mark.parametrize("family", SPECIAL)
def test_special_tokens_are_added_around_a_text(family: str) -> None:
    tokenizer, (before, after) = shared_model(family).prompt_tokenizer, SPECIAL[family]
    ids = tokenizer.tokenize("the film")
    assert tokenizer.encode_text("the film") == tokenizer.add_special_tokens(ids) == [*before, *ids, *after]


@pytest.mark.parametrize(("family", "start"), [("t5", [2]), ("mt5", [2]), ("bart", [1, 0]), ("mbart", [1])])
def test_the_decoder_begins_with_the_ids_of_the_family(family: str, start: list[int]) -> None:
    model = shared_model(family)
    tokenizer = model.prompt_tokenizer
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    assert tokenizer.add_special_tokens([5, 6]) == [*begin, 5, 6, model.eos_token_id, DECODER_START, *start[1:]]
    assert tokenizer.decoder_prompt_ids == start  # type: ignore[attr-defined]


def test_an_answer_of_an_encoder_decoder_does_not_shorten_the_text() -> None:
    model = shared_model("bart")
    assert model.shape.window == 64
    assert model.prompt_tokenizer.get_max_prompt_length(62, 50) == 50 + 2
    assert model.prompt_tokenizer.get_max_prompt_length(63, 50) == 0
    assert LLAMA.get_max_prompt_length(20, 50) == 30


def test_answers_of_a_decoder_do_not_depend_on_the_text() -> None:
    tokenizer = shared_model("t5").prompt_tokenizer
    assert tokenizer.encode_answer("It is", " good") == tokenizer.tokenize("good")
    assert LLAMA.encode_answer("It is", " good") == LLAMA.tokenize(" good")


def test_the_pooled_token_is_the_mask_or_first_in_masked_models_and_the_last_in_others() -> None:
    masked = shared_model("bert").prompt_tokenizer
    assert masked.get_pooled_length([0, 5, 3, 9, 1]) == 3
    assert masked.get_pooled_length([0, 5, 9, 1]) == 1
    assert LLAMA.get_pooled_length([0, 5, 3]) == shared_model("t5").prompt_tokenizer.get_pooled_length([0, 5, 3]) == 3


def test_a_text_is_split_at_special_tokens() -> None:
    assert LLAMA.split_on_special_tokens("a</s>b<s>") == ["a", LLAMA.special_token_ids["</s>"], "b", 0]
    assert LLAMA.tokenize("</s>") == [LLAMA.special_token_ids["</s>"]]
    assert LLAMA.tokenize("</s>", split_special_tokens=True) != LLAMA.tokenize("</s>")


def test_a_clone_has_its_own_tokenizer() -> None:
    clone = LLAMA.clone()
    clone.tokenizer.chat_template = "{{ messages }}"
    clone.text_validator = lambda _: pytest.fail("the clone's own")
    assert LLAMA.tokenizer.chat_template is None
    assert LLAMA.tokenize("a") == LLAMA.tokenizer("a", add_special_tokens=False).input_ids


def test_a_rejected_text_is_not_tokenized() -> None:
    def reject(text: str) -> None:
        raise ValueError(text)

    tokenizer = LLAMA.clone()
    tokenizer.text_validator = reject
    for call in (lambda: tokenizer.tokenize("a"), lambda: tokenizer.tokenize_batch(["a"])):
        with pytest.raises(ValueError, match="a"):
            call()
