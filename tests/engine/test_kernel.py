"""The kernel beside torch's products, and where it is taken."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numba.core.caching import CompileResultCacheImpl, IndexDataCacheFile
from torch import Tensor

if sys.platform != "linux":
    pytest.skip("there torch has helpers that the kernel does not know", allow_module_level=True)

from softprompt.engine import kernel_code
from softprompt.engine.attention import OfSingle, Singles, fastest
from softprompt.engine.kernel import Kernel
from softprompt.engine.products import Products
from softprompt.engine.slots import Segment, Slots
from softprompt.model.shape import Kind, ModelShape

CPU = torch.device("cpu")
LENGTH = 60


def shaped(groups: int, width: int) -> ModelShape:
    """Sizes of a model; those that keys and values do not have do not matter."""
    return ModelShape(
        kind=Kind.CAUSAL,
        num_layers=2,
        num_kv_heads=groups,
        head_dim=width,
        hidden_size=8,
        embedding_size=8,
        vocab_size=8,
        window=LENGTH,
    )


def attended(singles: Singles, shape: ModelShape, single: list[Segment], group: int, spread: float) -> list[Tensor]:
    """What random queries find in random slots, and the slots then."""
    draw = torch.Generator().manual_seed(0)
    G, n, D = shape.num_kv_heads, len(single), shape.head_dim
    slots = Slots(shape, 6, LENGTH, CPU, torch.float32)
    for memory in (slots.keys, slots.values):
        memory.copy_(torch.randn(memory.shape, generator=draw))
    rows: OfSingle = singles(slots, single)
    found = torch.full((2, n, group * G, D), torch.nan)
    for layer in range(2):
        drawn = torch.randn(6, (group + 2) * G, D, generator=draw)  # for each slot the same, whoever else is there
        both = drawn[[segment.slot for segment in single]].transpose(0, 1)  # as a layer hands them on
        queries, keys, values = both.split([group * G, G, G])
        rows.attend(layer, queries * spread, keys, values, found[layer], D**-0.5, 5.0 if layer else None)
    return [found, slots.keys, slots.values]


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(1)


@pytest.mark.usefixtures("threads")
@given(
    behind=st.dictionaries(st.integers(0, 5), st.integers(0, LENGTH - 1), min_size=1),
    group=st.integers(1, 4),
    groups=st.integers(1, 3),
    width=st.sampled_from([8, 24, 64, 80]),
    spread=st.sampled_from([0.1, 1.0, 30.0]),
)
def test_it_finds_what_products_find(
    behind: dict[int, int], group: int, groups: int, width: int, spread: float
) -> None:
    single = [Segment(slot, at, 1, behind[slot]) for at, slot in enumerate(sorted(behind))]
    case = (shaped(groups, width), single, group, spread)
    for ours, theirs in zip(attended(Kernel, *case), attended(Products, *case), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("threads")
@given(behind=st.lists(st.integers(0, LENGTH - 1), min_size=2, max_size=6))
def test_what_a_row_finds_depends_on_nothing_beside_it(behind: list[int]) -> None:
    single = [Segment(slot, slot, 1, count) for slot, count in enumerate(behind)]
    together = attended(Kernel, shaped(2, 24), single, 3, 1.0)[0]
    alone = attended(Kernel, shaped(2, 24), [Segment(len(behind) - 1, 0, 1, behind[-1])], 3, 1.0)[0]
    assert torch.equal(together[:, -1], alone[:, 0])


def test_a_row_that_is_no_number_leaves_the_others_alone() -> None:
    single = [Segment(slot, slot, 1, 20) for slot in range(3)]
    slots = Slots(shaped(2, 24), 6, LENGTH, CPU, torch.float32)
    slots.keys[:, 1] = torch.nan
    found = torch.zeros(3, 6, 24)
    ones = torch.ones(2, 3, 24)
    Kernel(slots, single).attend(0, torch.ones(6, 3, 24), ones, ones, found, 0.2, None)
    assert found[1].isnan().any()
    assert found[[0, 2]].isfinite().all()


def test_it_is_taken_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fastest(CPU, torch.float32) is Kernel
    assert fastest(CPU, torch.bfloat16) is Products
    assert fastest(torch.device("cuda"), torch.float32) is Products
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "softprompt.engine.kernel", None)  # as without numba
        assert fastest(CPU, torch.float32) is Products
    monkeypatch.setattr(sys, "platform", "darwin")
    assert fastest(CPU, torch.float32) is Products


def test_in_other_precisions_it_reads_no_others_memory() -> None:
    single = [Segment(slot, slot, 1, 20) for slot in range(3)]
    slots = Slots(shaped(2, 24), 6, LENGTH, CPU, torch.float32)
    asked, ones = torch.randn(24, 3, 6).permute(2, 1, 0), torch.ones(2, 3, 24)
    whole, half = torch.empty(3, 6, 24), torch.empty(3, 6, 24, dtype=torch.bfloat16)
    Kernel(slots, single).attend(0, asked, ones, ones, whole, 0.2, None)
    few = [each.bfloat16() for each in (asked, ones, ones)]
    Kernel(slots, single).attend(0, few[0], few[1], few[2], half, 0.2, None)
    torch.testing.assert_close(half.float(), whole, atol=0.02, rtol=0.02)


def cut_short(*_: Any, **__: Any) -> None:
    raise EOFError("Ran out of input")


@pytest.mark.parametrize(
    "broken", [(CompileResultCacheImpl, "_locator_classes", []), (IndexDataCacheFile, "load", cut_short)]
)
def test_where_nothing_can_be_kept_it_is_compiled_each_time(
    broken: tuple[Any, str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(*broken)
    monkeypatch.setattr(kernel_code, "_ADDRESS", kernel_code._compiled())
    assert "NUMBA_CACHE_DIR" in caplog.text
    case = (shaped(2, 24), [Segment(0, 0, 1, 20)], 3, 1.0)
    for ours, theirs in zip(attended(Kernel, *case), attended(Products, *case), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
