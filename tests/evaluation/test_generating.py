"""Writing responses: greedy, sampled, streamed, in mixed batches."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softprompt.evaluation import Sampling, generate, stream
from softprompt.model import EncoderDecoderModel, FrozenModel, Payload, Placement
from softprompt.model.encoder_decoder import START
from softprompt.tasks import Row
from tests.strategies import payloads, random_embeddings, random_prefix, rows, writing_families
from tests.tiny import ENCODER_DECODER_FAMILIES, FAMILIES, shared_model


@torch.no_grad()
def recomputed(model: FrozenModel, row: Row, payload: Payload | None, count: int) -> str:
    """Greedy, with the whole row run anew for each token and no cache at all."""
    ids = row.prompt if payload is None else payload.arrange(row.prompt)
    written: list[int] = []
    for _ in range(count):
        whole = torch.tensor([[*ids, *written]])
        token = int(
            model.logits(model.hidden(whole, torch.ones_like(whole, dtype=torch.bool), payload)[0, -1]).argmax()
        )
        if token == model.eos:
            break
        written.append(token)
    return str(model.tokenizer.decode(written, skip_special_tokens=True)).strip()


def prompt(model: FrozenModel, ids: list[int]) -> Row:
    """Ids as a row that can be gone on with: behind an encoder-decoder's stands the decoder's start."""
    return Row(model.row(ids) if isinstance(model, EncoderDecoderModel) else ids, [])


@given(data=st.data(), family=writing_families, sequences=rows)
def test_a_mixed_batch_writes_what_each_row_writes_alone(
    data: st.DataObject, family: str, sequences: list[list[int]]
) -> None:
    model = shared_model(family)
    batch = [prompt(model, sequence) for sequence in sequences]
    each = [
        data.draw(st.none() | payloads(model, family).filter(lambda p: p.placement is not Placement.AFTER_BOS))
        for _ in batch
    ]
    found = generate(model, batch, each, Sampling(max_new_tokens=5), batch_size=3)
    assert found == [recomputed(model, row, payload, 5) for row, payload in zip(batch, each, strict=True)]


@pytest.mark.parametrize("family", ENCODER_DECODER_FAMILIES)
@torch.no_grad()
def test_an_encoder_decoder_writes_what_transformers_writes(family: str) -> None:
    model = shared_model(family)
    for seed in range(8):
        row = prompt(model, [5 + seed, 9, 77, 300 - seed])
        text = torch.tensor([row.prompt[: row.prompt.index(START)]])
        whole = model.network.generate(
            text,
            attention_mask=torch.ones_like(text),
            max_new_tokens=9,
            do_sample=False,
            forced_bos_token_id=model.bos,
            forced_eos_token_id=None,
            use_cache=False,  # with one, transformers takes the decoder for as deep as the encoder
        )
        begun = len(row.prompt) - text.shape[1]
        expected = model.tokenizer.decode(whole[0, begun:], skip_special_tokens=True).strip()
        found = generate(model, [row], [None], Sampling(max_new_tokens=10 - begun))
        assert found == [expected]


@pytest.mark.parametrize("family", FAMILIES + ENCODER_DECODER_FAMILIES)
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_streamed_is_whole(family: str, temperature: float) -> None:
    """Law 9's first half, for this loop: byte-level tokens often end inside a character."""
    model = shared_model(family)
    for seed in range(5):
        sampling = Sampling(max_new_tokens=20, temperature=temperature, seed=seed)
        row, payload = prompt(model, [5 + seed, 9, 77]), random_prefix(model, 3, seed)
        pieces = list(stream(model, row, payload, sampling))
        assert "".join(pieces).strip() == generate(model, [row], [payload], sampling)[0]
        assert all(not piece.endswith("\ufffd") for piece in pieces[:-1])


def test_sampling_is_repeatable_and_seeds_differ() -> None:
    model = shared_model("llama")
    row = Row([5, 9, 77], [])

    def written(seed: int) -> str:
        return generate(model, [row], [None], Sampling(max_new_tokens=12, temperature=2.0, seed=seed))[0]

    assert written(1) == written(1)
    assert len({written(seed) for seed in range(6)}) > 1


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 1e-6}])
def test_the_narrowest_sampling_is_greedy(narrow: dict[str, float]) -> None:
    model = shared_model("llama")
    row = Row([5, 9, 77], [])
    sampled = generate(model, [row], [None], Sampling(max_new_tokens=8, temperature=1.0, **narrow))
    assert sampled == generate(model, [row], [None], Sampling(max_new_tokens=8))


@pytest.mark.parametrize("more", [{}, {"top_p": 1e-320}, {"top_k": 5}])
@pytest.mark.parametrize("temperature", [5e-324, 1e-310, 1e-46, 1e-40, 1e-5])
def test_the_lowest_temperatures_are_greedy(temperature: float, more: dict[str, float]) -> None:
    """Divided by one of them logits would be infinite."""
    model, row = shared_model("llama"), Row([5, 9, 77], [])
    sampled = generate(model, [row], [None], Sampling(max_new_tokens=8, temperature=temperature, **more))
    assert sampled == generate(model, [row], [None], Sampling(max_new_tokens=8))


def test_a_row_that_ends_early_keeps_its_end_while_others_go_on() -> None:
    model = shared_model("llama")
    found = generate(
        model,
        [Row([i, 9, 77], []) for i in range(5, 25)],
        [random_embeddings_prefix(model)] * 20,
        Sampling(max_new_tokens=30),
    )
    assert all("</s>" not in text for text in found)
    assert len({len(text) for text in found}) > 1


def random_embeddings_prefix(model: FrozenModel) -> Payload:
    with torch.no_grad():
        return model.compile(random_embeddings(model, 3, 0))
