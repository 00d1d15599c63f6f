"""Law 5: the compiled prefix gives the logits of the embeddings it came from.

Models in which every token attends to the text cannot run the embeddings beforehand; there, compiling keeps embeddings.
The exact form of a distilled text gives the logits of the text itself in front of the input.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from softprompt.data import Example
from softprompt.model import CausalModel, EncoderDecoderModel, FrozenModel, KVPrefix, Payload, Placement
from softprompt.model.payload import get_placeholder_id
from softprompt.model.prompt_tokenizer import DECODER_START
from softprompt.tasks.chat_tokenizer import ChatTokenizer
from tests.chat_templates import OTHER_TEMPLATES, SYSTEM_TEMPLATES, chat_model
from tests.distillation.exact_form import compute_logits_behind, compute_plain_logits, distil_exactly
from tests.laws.few import few, fewest
from tests.strategies import as_row, lengths, payloads, random_embeddings, rows, seeds
from tests.tiny import ALL_FAMILIES, FAMILIES, shared_model

#: Texts with everything that could be read as something else: special tokens, markers, template fields, white space.
parts = st.sampled_from(["the film", " was", " fun.", "</s>", "<s>", "[P1]", "{text}", "\n", "{{", "é", "你"])
instructions = st.lists(parts, max_size=5).map("".join).filter(lambda text: bool(text.strip()))
messages = st.sampled_from(["name: Aro", "was it fun?", "</s>", "{text} [P1]"])


@torch.no_grad()
def original(model: FrozenModel, virtual: Tensor, sequence: list[int], bos: bool = False) -> Tensor:
    """Logits at the text's tokens with the virtual tokens' embeddings in the same row: transformers' own forward.

    Of an encoder-decoder those at the decoder's tokens.
    """
    placeholders = [get_placeholder_id(i) for i in range(len(virtual))]
    if isinstance(model, EncoderDecoderModel):
        at = sequence.index(DECODER_START)
        embeddings = model.embed_tokens(torch.tensor([[*placeholders, *sequence[:at]]]), virtual.unsqueeze(0))
        said = torch.tensor([[model.prompt_tokenizer.decoder_prompt_ids[0], *sequence[at + 1 :]]])
        return model.network(inputs_embeds=embeddings, decoder_input_ids=said).logits[0]
    ids = torch.tensor([[*sequence[:1], *placeholders, *sequence[1:]] if bos else [*placeholders, *sequence]])
    embeddings = model.embed_tokens(ids, virtual.unsqueeze(0))
    return model.network(inputs_embeds=embeddings).logits[0, len(virtual) + bos :]


@torch.no_grad()
def compiled(model: FrozenModel, virtual: Tensor, sequence: list[int], placement: Placement) -> Tensor:
    payload = model.compile_payload(random_embeddings(model, len(virtual), 0, placement).with_tensor(virtual))
    return logits(model, payload.apply_to_prompt(sequence), payload)


@pytest.mark.parametrize("family", ALL_FAMILIES)
@given(P=lengths, seed=seeds, sequences=rows)
@few
def test_a_compiled_prompt_gives_the_logits_of_its_embeddings(
    family: str, P: int, seed: int, sequences: list[list[int]]
) -> None:
    model = shared_model(family)
    virtual = random_embeddings(model, P, seed).tensor
    for sequence in (as_row(model, ids) for ids in sequences):
        expected = original(model, virtual, sequence)
        found = compiled(model, virtual, sequence, Placement.BEFORE)[-len(expected) :]
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["llama"])
def test_a_prompt_compiled_after_bos_gives_the_logits_of_its_embeddings(family: str) -> None:
    model = shared_model(family)
    virtual = random_embeddings(model, 4, seed=3).tensor
    assert model.prompt_tokenizer.bos_token_id is not None
    sequence = [model.prompt_tokenizer.bos_token_id, 9, 10, 11]
    found = compiled(model, virtual, sequence, Placement.AFTER_BOS)
    torch.testing.assert_close(found, original(model, virtual, sequence, bos=True), atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data(), beginning=st.lists(st.integers(3, 383), min_size=1, max_size=6), sequences=rows)
@few
@torch.no_grad()
def test_a_prefix_extended_by_the_common_text_of_examples_gives_the_same_logits(
    family: str, data: st.DataObject, beginning: list[int], sequences: list[list[int]]
) -> None:
    model = shared_model(family)
    payload = data.draw(payloads(model, family) | st.none())
    compiled = None if payload is None else model.compile_payload(payload)
    shared = model.prompt_tokenizer.add_special_tokens(beginning)
    prolonged = model.extend_prefix(compiled, shared)
    for sequence in sequences:
        whole, rest = (
            each.apply_to_prompt([*shared, *sequence]) if each else [*shared, *sequence]
            for each in (compiled, prolonged)
        )
        expected, found = (logits(model, ids, each) for ids, each in ((whole, compiled), (rest, prolonged)))
        torch.testing.assert_close(found, expected[len(whole) - len(rest) :], atol=1e-4, rtol=0)
    if compiled is None or (isinstance(compiled, KVPrefix) and compiled.frozen_prefix is None):
        assert rest == sequences[-1]


def logits(model: FrozenModel, sequence: list[int], payload: Payload | None) -> Tensor:
    ids = torch.tensor([sequence])
    return model.compute_logits(model.compute_hidden_states(ids, torch.ones_like(ids, dtype=torch.bool), payload))[0]


@pytest.mark.parametrize("family", FAMILIES)
@given(text=instructions, message=messages)
@few
def test_the_exact_form_gives_the_logits_of_the_text_before_the_input(family: str, text: str, message: str) -> None:
    model = shared_model(family)
    assert isinstance(model, CausalModel)
    prompt = distil_exactly(model, text, task="generation", template="{input}\nLabel:")
    tokenize, template = model.prompt_tokenizer.tokenize, "\nLabel:"
    token_ids = [
        *tokenize(text.rstrip() + "\n\n", split_special_tokens=True),
        *tokenize(message, split_special_tokens=True),
        *tokenize(template),
    ]
    expected = compute_plain_logits(model, model.prompt_tokenizer.add_special_tokens(token_ids))
    found = compute_logits_behind(model, prompt, Example({"input": message}))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["qwen2", "llama"])
@pytest.mark.parametrize("template", SYSTEM_TEMPLATES)
@given(text=instructions, said=st.lists(messages, min_size=1, max_size=3).filter(lambda said: len(said) != 2))
@few
def test_the_exact_form_gives_the_logits_of_a_chat_with_the_text_as_system_message(
    template: str, family: str, text: str, said: list[str]
) -> None:
    model = chat_model(SYSTEM_TEMPLATES[template], family)
    turns = [{"role": ("user", "assistant")[i % 2], "content": message} for i, message in enumerate(said)]
    chat = [{"role": "system", "content": text.rstrip()}, *turns]
    expected = compute_plain_logits(model, encode_chat(model, chat))
    found = compute_logits_behind(model, distil_exactly(model, text), Example({"messages": turns}))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["qwen2", "llama"])
@pytest.mark.parametrize("template", OTHER_TEMPLATES)
@given(text=instructions, said=st.lists(messages, min_size=1, max_size=3).filter(lambda said: len(said) != 2))
@fewest
def test_the_exact_form_gives_the_logits_of_the_text_before_a_chat_without_a_place_for_a_system_message(
    template: str, family: str, text: str, said: list[str]
) -> None:
    model = chat_model(OTHER_TEMPLATES[template], family)
    turns = [{"role": ("user", "assistant")[i % 2], "content": message} for i, message in enumerate(said)]
    text_ids = model.prompt_tokenizer.tokenize(text.rstrip() + "\n\n", split_special_tokens=True)
    chat_ids = encode_chat(model, turns)
    bos = chat_ids[: int(model.prompt_tokenizer.bos_token_id is not None)]
    expected = compute_plain_logits(model, [*bos, *text_ids, *chat_ids[len(bos) :]])
    found = compute_logits_behind(model, distil_exactly(model, text), Example({"messages": turns}))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def encode_chat(model: CausalModel, chat: list[dict[str, str]]) -> list[int]:
    """Encode a conversation up to the next answer, in one piece; without a system message the template adds its own."""
    return ChatTokenizer(model).tokenize_generation_prompt(chat, "the chat")


@pytest.mark.real
def test_a_compiled_prompt_of_the_bundled_model_gives_the_logits_of_its_embeddings(smollm2: FrozenModel) -> None:
    virtual = random_embeddings(smollm2, 12, seed=0).tensor
    sequence = smollm2.prompt_tokenizer.tokenize("Review: a gorgeous, moving film\nSentiment:")
    found = compiled(smollm2, virtual, sequence, Placement.BEFORE)
    torch.testing.assert_close(found, original(smollm2, virtual, sequence), atol=1e-4, rtol=0)


@pytest.mark.real
def test_the_exact_form_of_the_bundled_model_gives_the_logits_of_a_chat_with_the_text_as_system_message(
    smollm2: FrozenModel,
) -> None:
    assert isinstance(smollm2, CausalModel)
    text, turns = "Answer in one short sentence, and be kind.", [{"role": "user", "content": "Where is my parcel?"}]
    rendered = smollm2.tokenizer.apply_chat_template(
        [{"role": "system", "content": text}, *turns], tokenize=False, add_generation_prompt=True
    )
    expected = compute_plain_logits(smollm2, smollm2.tokenizer(rendered, add_special_tokens=False).input_ids)
    found = compute_logits_behind(smollm2, distil_exactly(smollm2, text), Example({"messages": turns}))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
