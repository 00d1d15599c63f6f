"""Law 3: in a batch of mixed prompts, each sequence has the same hidden states as alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softprompt.model import CausalModel, Payload
from tests.distillation.targets import INPUTS, KINDS, compute_outputs, teach
from tests.laws.few import few
from tests.laws.together import FEW_SERVED, check_alone, joining, texts
from tests.strategies import as_row, families, laid_out, payloads, rows
from tests.tiny import ALL_FAMILIES, FAMILIES, shared_model


@pytest.mark.parametrize("family", ALL_FAMILIES)
@given(data=st.data(), sequences=rows, side=st.sampled_from(["left", "right"]))
@few
@torch.no_grad()
def test_a_sequence_in_a_batch_of_mixed_prompts_has_the_hidden_states_of_the_sequence_alone(
    data: st.DataObject, family: str, sequences: list[list[int]], side: str
) -> None:
    model = shared_model(family)
    each: list[Payload | None] = [data.draw(payloads(model, family) | st.none()) for _ in sequences]
    rows = [as_row(model, sequence) for sequence in sequences]
    arranged = [s if p is None else p.apply_to_prompt(s) for s, p in zip(rows, each, strict=True)]
    # A row whose prefix holds the BOS may be left without tokens of its own; the CLI never makes one.
    arranged = [s or [7] for s in arranged]
    ids, mask = laid_out(arranged, side)
    together = model.compute_hidden_states(ids, mask, each)
    for row, (sequence, payload) in enumerate(zip(arranged, each, strict=True)):
        alone = model.compute_hidden_states(*laid_out([sequence], "right"), payload)
        torch.testing.assert_close(together[row][mask[row]], alone[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FEW_SERVED)
@given(data=st.data(), rows=texts)
@few
def test_a_sequence_among_mixed_prompts_in_the_engine_equals_the_sequence_alone(
    family: str, data: st.DataObject, rows: list[list[int]]
) -> None:
    """Sequences with and without prompts in the flat batch of every step; some texts share a prefix."""
    model = shared_model(family)
    asked = [(row, data.draw(payloads(model, family) | st.none())) for row in rows]
    for each, told in zip(asked, joining(data, model, asked), strict=True):
        check_alone(model, each, told)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data())
@few
def test_an_input_of_a_distillation_has_the_divergence_of_the_input_alone(
    family: str, kind: str, data: st.DataObject
) -> None:
    """Inputs and responses of mixed lengths, each with a prompt of its own."""
    model = shared_model(family)
    assert isinstance(model, CausalModel)
    objective, examples = teach(model, kind)
    each = [data.draw(payloads(model, family).filter(lambda p: p.placement != "after-text")) for _ in INPUTS]
    losses, outputs = compute_outputs(objective, examples, each)
    for i, (example, payload) in enumerate(zip(examples, each, strict=True)):
        loss, output = compute_outputs(objective, [example], [payload])
        torch.testing.assert_close(losses[i], loss[0], atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(outputs[i], output[0], atol=1e-4, rtol=1e-5)


@given(data=st.data(), family=families)
@torch.no_grad()
def test_a_prompt_changes_the_logits_of_the_model(data: st.DataObject, family: str) -> None:
    """Otherwise the law above would hold for a model that ignores its prompts."""
    model = shared_model(family)
    one = data.draw(payloads(model, family).filter(lambda p: p.placement == "before"))
    row = as_row(model, [5, 6, 7])
    ids, mask = laid_out([one.apply_to_prompt(row), row], "left")
    prompted, bare = model.compute_logits(model.compute_hidden_states(ids, mask, [one, None]))[:, -len(row) :]
    assert (prompted - bare).abs().max() > 1e-2
