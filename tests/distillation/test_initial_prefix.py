"""Initial prefixes: each key of the last tokens keeps its distance to the input."""

from __future__ import annotations

import pytest
import torch

from softprompt.distillation.attention_matching import compress_prefix
from softprompt.distillation.context import Context
from softprompt.distillation.initial_prefix import (
    DISTILL_INITIALIZERS,
    PrefixInitContext,
    draw_random,
    match_attention,
    select_initializer,
    take_last_tokens,
)
from softprompt.distillation.reference_queries import compute_reference_queries, split_into_chunks
from softprompt.errors import SettingError
from softprompt.model import CausalModel, KVPrefix
from softprompt.model.rotary import shift_positions
from tests.distillation.targets import FAMILIES_AND_STARTS, build_context
from tests.tiny import FAMILIES, WITH_BOS, WITHOUT_QUERIES, shared_model


def load(family: str) -> CausalModel:
    model = shared_model(family)
    assert isinstance(model, CausalModel)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_all_but_one_of_the_tokens_shift_by_one(family: str) -> None:
    model = load(family)
    context = build_context(model)
    P = context.num_tokens - 1
    value = take_last_tokens(PrefixInitContext(model, context, (), P, 0))
    whole = context.prefix.tensor
    num_first = int(not context.prefix.has_bos)
    expected = shift_positions(model, whole[:, :, :, -(P - num_first) :], -1)
    torch.testing.assert_close(value.tensor[:, :, :, num_first:], expected)
    assert value.description == f"the first and the last tokens, {context.num_tokens} tokens to {P}"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_token_keeps_its_position(family: str) -> None:
    model = load(family)
    context = build_context(model)
    value = take_last_tokens(PrefixInitContext(model, context, (), 3, 0)).tensor
    if family in WITH_BOS:
        assert context.prefix.has_bos
        assert value.shape[3] == 3
    else:
        assert torch.equal(value[:, :, :, 0], context.prefix.tensor[:, :, :, 0])


@pytest.mark.parametrize("P", [1, 2, 3])
def test_the_last_key_gets_the_attention_that_it_had_behind_the_whole_text(P: int) -> None:
    """The score of a query and a key depends on their distance alone, which is as before."""
    model = load("llama")
    context = build_context(model)
    value = take_last_tokens(PrefixInitContext(model, context, (), P, 0)).tensor
    query = torch.randn(value.shape[0], 1, value.shape[2], 1, value.shape[4])
    query = torch.cat([query, query], dim=1)
    behind_text, behind_prefix = (shift_positions(model, query, n + 1)[:, 0] for n in (context.num_tokens, P))
    expected = (behind_text * context.prefix.tensor[:, 0, :, -P:]).sum(-1)
    torch.testing.assert_close((behind_prefix * value[:, 0]).sum(-1), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("family", "init"), FAMILIES_AND_STARTS)
def test_initial_values_are_finite_and_have_the_prefix_shape(family: str, init: str) -> None:
    model = load(family)
    for P in (1, 5):
        tensor = DISTILL_INITIALIZERS[init](PrefixInitContext(model, build_context(model), (), P, 3)).tensor
        assert tensor.shape == model.shape.get_prefix_shape(P)
        assert tensor.isfinite().all()


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in WITHOUT_QUERIES])
def test_the_matched_prefix_is_the_one_that_is_used(family: str) -> None:
    """A compiled prompt has the model's own keys and values of BOS, so the others are fitted to those."""
    model = load(family)
    context = build_context(model)
    init = match_attention(PrefixInitContext(model, context, (), 4, 0))
    used = model.compile_payload(KVPrefix(init.tensor, context.prefix.placement))
    assert isinstance(used, KVPrefix)
    chunks = split_into_chunks(context.prefix.apply_to_prompt(list(context.token_ids)))
    fitted = compress_prefix(model, context.prefix, compute_reference_queries(model, context.prefix, chunks), 4)
    torch.testing.assert_close(used.tensor, fitted.tensor, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2"])
@pytest.mark.parametrize("num_free", [16, 17, 31])
def test_a_text_that_nearly_fills_the_window_is_matched_inside_it(
    family: str, num_free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(family)
    token_ids = model.prompt_tokenizer.encode_text("tea so good " * model.shape.window)
    context = Context.from_token_ids(token_ids[: model.shape.window - num_free], model)
    lengths, compute_queries = [], CausalModel.compute_queries

    def note_length(self: CausalModel, ids: torch.Tensor, *rest: object) -> torch.Tensor:
        lengths.append(ids.shape[1])
        return compute_queries(self, ids, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(CausalModel, "compute_queries", note_length)
    assert match_attention(PrefixInitContext(model, context, (), 4, 0)).tensor.isfinite().all()
    assert max(lengths) == num_free


def test_a_text_of_one_or_two_tokens_has_a_finite_random_start() -> None:
    model = load("qwen2")
    context = build_context(model, "the film")
    assert context.num_tokens <= 2
    assert draw_random(PrefixInitContext(model, context, (), 1, 0)).tensor.isfinite().all()


def test_the_seed_determines_a_random_start() -> None:
    model = load("llama")
    one, same, other = (
        draw_random(PrefixInitContext(model, build_context(model), (), 4, seed)).tensor for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("family", WITHOUT_QUERIES)
def test_models_without_queries_start_from_the_last_tokens_and_refuse_attention_matching(family: str) -> None:
    model = load(family)
    assert select_initializer(None, model) is take_last_tokens
    with pytest.raises(SettingError, match="needs the queries of the attention"):
        select_initializer("attention-matching", model)


def test_other_models_start_from_attention_matching() -> None:
    assert select_initializer(None, load("llama")) is match_attention
