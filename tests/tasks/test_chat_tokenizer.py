"""Conversations as token ids: what a system message in a prompt's virtual tokens leaves to the conversation."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from softprompt.errors import RecordError
from softprompt.model import CausalModel, freeze_network
from softprompt.tasks.chat_tokenizer import CONTENT_PLACEHOLDER, ChatTokenizer
from tests.chat_templates import FOLDED, OTHER_TEMPLATES, SYSTEM_TEMPLATES, WITH_DEFAULT_SYSTEM, chat_model
from tests.tiny import BOS, EOS, WORDS, tiny_model

parts = st.sampled_from(["the film", " was fun.", EOS, BOS, "[P1]", "{text}", "\n\n", " ", CONTENT_PLACEHOLDER])
system_texts = st.lists(parts, max_size=5).map("".join).map(str.rstrip)
chats = st.lists(st.sampled_from(["name: Aro", f"fun{EOS}?", "{text}", "[P1]"]), min_size=1, max_size=3)


def turns(*said: str) -> list[dict[str, str]]:
    """Make the turns of user and assistant."""
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(said)]


def system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


def encode_in_parts(model: CausalModel, text: str, messages: list[dict[str, str]]) -> list[int]:
    """Encode a system message as virtual tokens do, and behind it the conversation."""
    beginning = ChatTokenizer(model).tokenize_system_message(text)
    assert beginning is not None
    rest = ChatTokenizer(model, omits_system_message=True).tokenize_generation_prompt(messages, "the chat")
    return [*beginning, *rest[int(model.prompt_tokenizer.bos_token_id is not None) :]]


@pytest.mark.parametrize("family", ["qwen2", "llama"])
@pytest.mark.parametrize("template", SYSTEM_TEMPLATES)
@given(text=system_texts, said=chats)
def test_a_system_message_and_the_rest_are_the_tokens_of_the_whole_conversation(
    template: str, family: str, text: str, said: list[str]
) -> None:
    model = chat_model(SYSTEM_TEMPLATES[template], family)
    whole = ChatTokenizer(model).tokenize_generation_prompt([system(text), *turns(*said)], "the chat")
    assert encode_in_parts(model, text, turns(*said)) == whole


@pytest.mark.parametrize("template", OTHER_TEMPLATES)
def test_a_template_without_a_place_for_a_first_system_message_has_none(template: str) -> None:
    model = chat_model(OTHER_TEMPLATES[template])
    assert ChatTokenizer(model).tokenize_system_message("the film was fun") is None


def test_a_template_that_begins_with_the_system_message_has_a_place_for_one() -> None:
    model = chat_model("{% for message in messages %}{{ message['content'] }}\n{% endfor %}")
    assert ChatTokenizer(model).tokenize_system_message("") == []
    assert encode_in_parts(model, "fun", turns("a")) == model.prompt_tokenizer.tokenize("fun\na\n")


def test_the_tokens_of_a_system_message_equal_those_of_transformers() -> None:
    model = chat_model(WITH_DEFAULT_SYSTEM)
    messages = turns("name: Aro", "fun", "food")
    text = model.tokenizer.apply_chat_template(
        [system("the film was fun."), *messages], tokenize=False, add_generation_prompt=True
    )
    expected = model.tokenizer(text, add_special_tokens=False).input_ids
    assert encode_in_parts(model, "the film was fun.", messages) == expected


def test_a_conversation_has_no_default_system_message_behind_that_of_the_prompt() -> None:
    model = chat_model(WITH_DEFAULT_SYSTEM)
    ids = ChatTokenizer(model, omits_system_message=True).tokenize_generation_prompt(turns("a"), "the chat")
    assert model.tokenizer.decode(ids) == f"{EOS}\n[user] a{EOS}\n[assistant] "


@pytest.mark.parametrize("template", SYSTEM_TEMPLATES)
def test_a_system_message_of_the_conversation_continues_that_of_the_prompt(template: str) -> None:
    """Otherwise a second system turn would begin in the middle of the first one."""
    model = chat_model(SYSTEM_TEMPLATES[template])
    messages = [system("Be brief."), *turns("name: Aro")]
    whole = ChatTokenizer(model).tokenize_generation_prompt(
        [system("You are fun.\n\nBe brief."), *turns("name: Aro")], "the chat"
    )
    assert encode_in_parts(model, "You are fun.", messages) == whole


def test_an_answer_behind_the_system_message_of_the_prompt_is_supervised() -> None:
    model = chat_model(FOLDED)
    chat = ChatTokenizer(model, omits_system_message=True).tokenize_conversation(turns("a", "fun"), "the chat")
    assert model.tokenizer.decode([chat.token_ids[i] for i in chat.supervised_positions]) == f"fun{EOS}"


def test_a_model_whose_template_lost_its_place_for_a_system_message_is_rejected() -> None:
    model = chat_model(OTHER_TEMPLATES["dropped-system"])
    with pytest.raises(RecordError, match="no place for the prompt's system message"):
        ChatTokenizer(model, omits_system_message=True).tokenize_generation_prompt(turns("a"), "the chat")


def test_a_tokenizer_that_begins_texts_with_a_space_adds_none_behind_the_system_message() -> None:
    """As Llama 2: `▁` precedes the first word of a text, but not of its continuation."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(
        [WORDS], trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>", EOS], show_progress=False)
    )
    network = copy.copy(tiny_model("qwen2").network)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS, unk_token="<unk>")
    fast.chat_template = (
        "{% for message in messages %}{{ message['content'] }}is {% endfor %}"
        "{% if add_generation_prompt %}fun{% endif %}"
    )
    model = freeze_network(network, fast, "spaced")
    assert isinstance(model, CausalModel)
    whole = ChatTokenizer(model).tokenize_generation_prompt([system("the film"), *turns("food")], "the chat")
    assert encode_in_parts(model, "the film", turns("food")) == whole
