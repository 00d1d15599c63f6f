"""Law 2: any padding side, any batch composition, any order: a sequence has the same logits as alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softprompt.model import FrozenModel, Payload
from tests.laws.few import few
from tests.laws.together import FEW_SERVED, check_alone, joining, texts
from tests.strategies import as_row, families, laid_out, payloads, random_embeddings, rows
from tests.tiny import ALL_FAMILIES, shared_model


@torch.no_grad()
def logits(
    model: FrozenModel, sequences: list[list[int]], side: str, extra: int, payload: Payload | None
) -> list[torch.Tensor]:
    """Compute the logits of each sequence at its own tokens."""
    rows = [as_row(model, sequence) for sequence in sequences]
    # A row whose prefix holds the BOS may be left without tokens of its own; the CLI never makes one.
    arranged = [ids if payload is None else payload.apply_to_prompt(ids) or [7] for ids in rows]
    ids, mask = laid_out(arranged, side, extra)
    out = model.compute_logits(model.compute_hidden_states(ids, mask, payload))
    return [out[row][mask[row]] for row in range(len(sequences))]


@pytest.mark.parametrize("family", ALL_FAMILIES)
@given(data=st.data(), sequences=rows, side=st.sampled_from(["left", "right"]), extra=st.integers(0, 4))
@few
def test_a_sequence_in_a_padded_batch_has_the_logits_of_the_sequence_alone(
    data: st.DataObject, family: str, sequences: list[list[int]], side: str, extra: int
) -> None:
    model = shared_model(family)
    payload = data.draw(payloads(model, family) | st.none())
    together = logits(model, sequences, side, extra, payload)
    for sequence, found in zip(sequences, together, strict=True):
        alone = logits(model, [sequence], "right", 0, payload)[0]
        torch.testing.assert_close(found, alone, atol=1e-4, rtol=0)


@given(family=families, sequences=rows, order=st.randoms(use_true_random=False))
def test_the_order_of_sequences_in_a_batch_does_not_change_their_logits(
    family: str, sequences: list[list[int]], order: object
) -> None:
    model = shared_model(family)
    with torch.no_grad():
        payload = model.compile_payload(random_embeddings(model, 3, seed=1))
    shuffled = list(range(len(sequences)))
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    straight = logits(model, sequences, "right", 0, payload)
    mixed = logits(model, [sequences[i] for i in shuffled], "right", 0, payload)
    for place, i in enumerate(shuffled):
        torch.testing.assert_close(mixed[place], straight[i], atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FEW_SERVED)
@given(data=st.data(), rows=texts)
@few
def test_a_sequence_in_the_engine_has_the_logits_of_the_sequence_alone(
    family: str, data: st.DataObject, rows: list[list[int]]
) -> None:
    """Sequences with one prompt in the flat batch of every step, at whatever step each joins."""
    model = shared_model(family)
    payload = data.draw(payloads(model, family) | st.none())
    asked = [(row, payload) for row in rows]
    for each, told in zip(asked, joining(data, model, asked), strict=True):
        check_alone(model, each, told)


@pytest.mark.real
def test_padding_does_not_change_the_logits_of_the_bundled_model(smollm2: FrozenModel) -> None:
    sequences = [
        smollm2.prompt_tokenizer.tokenize(t)
        for t in ("A gorgeous, moving film.", "Dull.", "The plot sagged, but the cast shone throughout.")
    ]
    with torch.no_grad():
        payload = smollm2.compile_payload(random_embeddings(smollm2, 8, seed=0))
    for side in ("left", "right"):
        together = logits(smollm2, sequences, side, 2, payload)
        for sequence, found in zip(sequences, together, strict=True):
            torch.testing.assert_close(found, logits(smollm2, [sequence], "right", 0, payload)[0], atol=1e-4, rtol=0)
