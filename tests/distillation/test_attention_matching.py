"""Attention matching: fewer keys and values whose attention output is that of the whole text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import softprompt
from softprompt.distillation.attention_matching import compress_prefix, truncate_prefix
from softprompt.distillation.reference_queries import compute_reference_queries, split_into_chunks
from softprompt.errors import SettingError
from softprompt.model import CausalModel, FrozenModel, KVPrefix
from tests.distillation.targets import build_context
from tests.tiny import FAMILIES, WITHOUT_QUERIES, shared_model

MATCHED = [family for family in FAMILIES if family not in WITHOUT_QUERIES]
TEXT = "the film was great fun and the food is awful so say good or bad, its plot a bore"


def load(family: str) -> CausalModel:
    model = shared_model(family)
    assert isinstance(model, CausalModel)
    return model


def compute_text_queries(model: CausalModel, prefix: KVPrefix, text: str = TEXT) -> Tensor:
    return compute_reference_queries(model, prefix, split_into_chunks(model.prompt_tokenizer.tokenize(text)))


@pytest.mark.parametrize("family", MATCHED)
def test_as_many_virtual_tokens_as_the_text_has_are_the_text_itself(family: str) -> None:
    model = load(family)
    context = build_context(model, TEXT)
    queries = compute_text_queries(model, context.prefix)
    assert compress_prefix(model, context.prefix, queries, context.num_tokens) is context.prefix


@pytest.mark.parametrize("family", MATCHED)
@torch.no_grad()
def test_the_attention_output_is_closer_to_the_whole_texts_than_that_of_the_last_tokens(family: str) -> None:
    """Measured on queries that were not fitted, behind the whole text."""
    model = load(family)
    context = build_context(model, TEXT).prefix
    P = context.num_virtual_tokens // 2
    queries = compute_text_queries(model, context)
    probes = compute_text_queries(model, context, "rice and fish and tea were lovely")
    whole = attend(probes, context)

    def measure_error(prefix: KVPrefix) -> float:
        # Queries keep their distance to the keys, as they would if the text began after the shorter prefix.
        shifted = context.num_positions - prefix.num_positions
        moved = prefix.with_tensor(shift_back(model, prefix, shifted))
        return float((attend(probes, moved) - whole).norm())

    assert measure_error(compress_prefix(model, context, queries, P)) < measure_error(
        truncate_prefix(model, context, P)
    )


def shift_back(model: CausalModel, prefix: KVPrefix, offset: int) -> Tensor:
    """Return the keys and values at the positions that they had in the text; the first one never moved."""
    from softprompt.model.rotary import shift_positions

    offsets = torch.full((prefix.num_positions,), offset)
    offsets[0] = 0
    return shift_positions(model, prefix.tensor, offsets)


def attend(queries: Tensor, prefix: KVPrefix) -> Tensor:
    """Return the attention output of queries over a prefix alone, `[L, A, n, D]`."""
    keys, values = (part.repeat_interleave(queries.shape[1] // part.shape[1], 1) for part in prefix.tensor.unbind(1))
    return (queries @ keys.transpose(-1, -2)).softmax(-1) @ values


@pytest.mark.parametrize("family", MATCHED)
def test_the_first_position_keeps_its_key(family: str) -> None:
    model = load(family)
    context = build_context(model, TEXT).prefix
    compressed = compress_prefix(model, context, compute_text_queries(model, context), 4)
    torch.testing.assert_close(compressed.tensor[:, 0, :, 0], context.tensor[:, 0, :, 0])
    assert compressed.num_virtual_tokens == 4
    assert (compressed.has_bos, compressed.placement) == (context.has_bos, context.placement)


@pytest.mark.parametrize("family", MATCHED)
def test_bos_keeps_its_value_because_no_prompt_can_change_it(family: str) -> None:
    model = load(family)
    context = build_context(model, TEXT).prefix
    compressed = compress_prefix(model, context, compute_text_queries(model, context), 4)
    is_kept = torch.equal(compressed.tensor[:, 1, :, 0], context.tensor[:, 1, :, 0])
    assert is_kept == context.has_bos


@pytest.mark.parametrize("num_queries", [1, 3])
def test_fewer_queries_than_virtual_tokens_give_finite_values(num_queries: int) -> None:
    model = load("qwen2")
    context = build_context(model, TEXT).prefix
    queries = compute_text_queries(model, context)[:, :, :num_queries]
    assert compress_prefix(model, context, queries, 6).tensor.isfinite().all()


def test_identical_tokens_give_finite_values() -> None:
    model = load("gpt2")
    context = build_context(model, "tea tea tea tea tea tea tea tea").prefix
    tensor = context.tensor[:, :, :, :1].expand_as(context.tensor).clone()
    equal = KVPrefix(tensor, context.placement, has_bos=context.has_bos)
    assert compress_prefix(model, equal, compute_text_queries(model, equal), 3).tensor.isfinite().all()


@pytest.mark.parametrize("P", [0, 1000])
def test_a_number_of_virtual_tokens_outside_the_text_is_refused(P: int) -> None:
    model = load("llama")
    context = build_context(model, TEXT).prefix
    with pytest.raises(SettingError, match=f"{P} virtual tokens cannot be selected"):
        truncate_prefix(model, context, P)


@pytest.mark.real
def test_attention_matching_recovers_more_of_a_text_on_the_bundled_model(
    smollm2: FrozenModel, tmp_path: Path, write_jsonl: object
) -> None:
    text = (
        "The workshop opens at 6:45 and closes at 19:30. There are three kilns: Ember, Finch and Old Tom. Ember is "
        "used for stoneware. Finch is electric. Old Tom burns ash wood and is fired only in March. Two people "
        "sign the blue book before a kiln is opened. Broken pieces are entered in the red book. Visitors wear a yellow "
        "badge. Tours are on Tuesdays and Thursdays at 14:00."
    )
    (tmp_path / "text.txt").write_text(text, "utf-8")
    questions = [
        "When does the workshop open?",
        "Which kiln burns ash wood?",
        "What do visitors wear?",
        "When are tours?",
    ]
    assert callable(write_jsonl)
    validation = write_jsonl("questions.jsonl", [{"input": question} for question in questions])
    recoveries = {
        init: softprompt.distil(
            smollm2, context=tmp_path / "text.txt", validation=validation, output=tmp_path / init, init=init,
            num_virtual_tokens=32, max_steps=0, max_new_tokens=16,
        ).metrics["recovery"]
        for init in ("attention-matching", "last-tokens", "random")
    }  # fmt: skip
    assert recoveries["attention-matching"] > max(recoveries["last-tokens"], recoveries["random"])
