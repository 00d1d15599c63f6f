"""Numba kernel compared with torch's products, and the selection of a backend."""

from __future__ import annotations

import subprocess
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
    pytest.skip("the kernel needs GNU OpenMP, which torch has on Linux", allow_module_level=True)

from softprompt.engine import numba_kernel
from softprompt.engine.attention import DecodeAttention, DecodeBackend, select_decode_backend
from softprompt.engine.kv_cache import KVCache, TokenSegment
from softprompt.engine.layer_inputs import LayerInputs
from softprompt.engine.matmul_attention import MatmulDecodeAttention
from softprompt.engine.numba_attention import NumbaDecodeAttention
from softprompt.engine.numba_kernel import KernelUnavailable, load_kernel
from softprompt.model.model_shape import ModelKind, ModelShape

CPU = torch.device("cpu")
LENGTH = 60


def build_shape(groups: int, width: int) -> ModelShape:
    """Shape of a model; sizes that do not concern keys and values are arbitrary."""
    return ModelShape(
        kind=ModelKind.CAUSAL,
        num_layers=2,
        num_kv_heads=groups,
        head_dim=width,
        hidden_size=8,
        embedding_size=8,
        vocab_size=8,
        window=LENGTH,
    )


def run_attention(
    backend: DecodeBackend, shape: ModelShape, segments: list[TokenSegment], group: int, spread: float
) -> list[Tensor]:
    """Return the output of random queries in random slots, and the slots afterwards."""
    draw = torch.Generator().manual_seed(0)
    G, n, D = shape.num_kv_heads, len(segments), shape.head_dim
    slots = KVCache(shape, 6, LENGTH, CPU, torch.float32)
    for memory in (slots.keys, slots.values):
        memory.copy_(torch.randn(memory.shape, generator=draw))
    attention: DecodeAttention = backend(slots, segments)
    output = torch.full((2, n, group * G, D), torch.nan)
    for layer in range(2):
        random_states = torch.randn(
            6, (group + 2) * G, D, generator=draw
        )  # the same for each slot, whatever the others
        combined = random_states[[segment.slot for segment in segments]].transpose(0, 1)  # in the layout of a layer
        queries, keys, values = combined.split([group * G, G, G])
        inputs = LayerInputs(queries * spread, keys, values, D**-0.5, 5.0 if layer else None)
        attention.attend_layer(layer, inputs, output[layer])
    return [output, slots.keys, slots.values]


@pytest.fixture
def fresh_kernel() -> Iterator[None]:
    """Forget the compiled kernel before and after a test."""
    load_kernel.cache_clear()
    yield
    load_kernel.cache_clear()


@pytest.fixture(params=[1, 2])
def num_threads(request: pytest.FixtureRequest) -> Iterator[None]:
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(1)


@pytest.mark.usefixtures("num_threads")
@given(
    behind=st.dictionaries(st.integers(0, 5), st.integers(0, LENGTH - 1), min_size=1),
    group=st.integers(1, 4),
    groups=st.integers(1, 3),
    width=st.sampled_from([8, 24, 64, 80]),
    spread=st.sampled_from([0.1, 1.0, 30.0]),
)
def test_kernel_matches_matmul_attention(
    behind: dict[int, int], group: int, groups: int, width: int, spread: float
) -> None:
    segments = [TokenSegment(slot, at, 1, behind[slot]) for at, slot in enumerate(sorted(behind))]
    case = (build_shape(groups, width), segments, group, spread)
    for kernel_results, matmul_results in zip(
        run_attention(NumbaDecodeAttention, *case), run_attention(MatmulDecodeAttention, *case), strict=True
    ):
        torch.testing.assert_close(kernel_results, matmul_results, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("num_threads")
@given(behind=st.lists(st.integers(0, LENGTH - 1), min_size=2, max_size=6))
def test_attention_of_a_sequence_does_not_depend_on_other_sequences(behind: list[int]) -> None:
    segments = [TokenSegment(slot, slot, 1, count) for slot, count in enumerate(behind)]
    together = run_attention(NumbaDecodeAttention, build_shape(2, 24), segments, 3, 1.0)[0]
    alone = run_attention(
        NumbaDecodeAttention, build_shape(2, 24), [TokenSegment(len(behind) - 1, 0, 1, behind[-1])], 3, 1.0
    )[0]
    assert torch.equal(together[:, -1], alone[:, 0])


def test_nan_affects_only_its_own_sequence() -> None:
    segments = [TokenSegment(slot, slot, 1, 20) for slot in range(3)]
    slots = KVCache(build_shape(2, 24), 6, LENGTH, CPU, torch.float32)
    slots.keys[:, 1] = torch.nan
    output = torch.zeros(3, 6, 24)
    ones = torch.ones(2, 3, 24)
    NumbaDecodeAttention(slots, segments).attend_layer(
        0, LayerInputs(torch.ones(6, 3, 24), ones, ones, 0.2, None), output
    )
    assert output[1].isnan().any()
    assert output[[0, 2]].isfinite().all()


def test_the_kernel_is_selected_where_it_is_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert select_decode_backend(CPU, torch.float32) is NumbaDecodeAttention
    assert select_decode_backend(CPU, torch.bfloat16) is MatmulDecodeAttention
    assert select_decode_backend(torch.device("cuda"), torch.float32) is MatmulDecodeAttention
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "softprompt.engine.numba_attention", None)  # as without numba
        assert select_decode_backend(CPU, torch.float32) is MatmulDecodeAttention
    monkeypatch.setattr(sys, "platform", "darwin")
    assert select_decode_backend(CPU, torch.float32) is MatmulDecodeAttention


@pytest.mark.parametrize("broken", ["_compile_kernel", "_load_gomp_parallel"])
def test_decoding_falls_back_to_torch_where_the_kernel_is_unavailable(
    broken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fresh_kernel: None
) -> None:
    def fail() -> None:
        raise KernelUnavailable("it cannot be compiled")

    monkeypatch.setattr(numba_kernel, broken, fail)
    assert select_decode_backend(CPU, torch.float32) is MatmulDecodeAttention
    assert "decoding falls back to torch kernels: it cannot be compiled" in caplog.text


def test_the_kernel_is_compiled_when_it_is_first_needed() -> None:
    code = (
        "from softprompt.engine.numba_attention import NumbaDecodeAttention\n"
        "from softprompt.engine.numba_kernel import load_kernel\n"
        "assert load_kernel.cache_info().currsize == 0\n"
        "import torch\n"
        "from softprompt.engine.attention import select_decode_backend\n"
        "for _ in range(2):\n"
        "    assert select_decode_backend(torch.device('cpu'), torch.float32) is NumbaDecodeAttention\n"
        "assert load_kernel.cache_info().misses == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_kernel_supports_half_precision_inputs() -> None:
    segments = [TokenSegment(slot, slot, 1, 20) for slot in range(3)]
    slots = KVCache(build_shape(2, 24), 6, LENGTH, CPU, torch.float32)
    queries, ones = torch.randn(24, 3, 6).permute(2, 1, 0), torch.ones(2, 3, 24)
    float_output, half_output = torch.empty(3, 6, 24), torch.empty(3, 6, 24, dtype=torch.bfloat16)
    NumbaDecodeAttention(slots, segments).attend_layer(0, LayerInputs(queries, ones, ones, 0.2, None), float_output)
    half_inputs = LayerInputs(queries.bfloat16(), ones.bfloat16(), ones.bfloat16(), 0.2, None)
    NumbaDecodeAttention(slots, segments).attend_layer(0, half_inputs, half_output)
    torch.testing.assert_close(half_output.float(), float_output, atol=0.02, rtol=0.02)


def raise_eof_error(*_: Any, **__: Any) -> None:
    raise EOFError("Ran out of input")


@pytest.mark.parametrize(
    "broken", [(CompileResultCacheImpl, "_locator_classes", []), (IndexDataCacheFile, "load", raise_eof_error)]
)
def test_the_kernel_is_compiled_where_numbas_cache_is_unusable(
    broken: tuple[Any, str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fresh_kernel: None
) -> None:
    monkeypatch.setattr(*broken)
    load_kernel()
    assert "NUMBA_CACHE_DIR" in caplog.text
    case = (build_shape(2, 24), [TokenSegment(0, 0, 1, 20)], 3, 1.0)
    for kernel_results, matmul_results in zip(
        run_attention(NumbaDecodeAttention, *case), run_attention(MatmulDecodeAttention, *case), strict=True
    ):
        torch.testing.assert_close(kernel_results, matmul_results, atol=1e-5, rtol=1e-5)
