"""Attention of decoding sequences on a CPU by a numba kernel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.engine.kv_cache import KVCache, TokenSegment
from softprompt.engine.layer_inputs import LayerInputs
from softprompt.engine.numba_kernel import KernelArgs, load_kernel


class NumbaDecodeAttention:
    """Attention of decoding sequences; see `DecodeAttention`.

    Raises:
        KernelUnavailable: the kernel cannot be compiled, or cannot run on torch's threads.
    """

    def __init__(self, kv_cache: KVCache, segments: Sequence[TokenSegment]):
        self._kernel = load_kernel()
        _, _, num_kv_heads, slot_length, head_dim = kv_cache.keys.shape
        self._lengths = np.array([segment.num_past_positions + 1 for segment in segments], np.uint64)
        self._slot_indices = np.array([segment.slot for segment in segments], np.uint64)
        self._args = KernelArgs(
            num_sequences=len(segments),
            num_kv_heads=num_kv_heads,
            head_dim=head_dim,
            max_length=int(self._lengths.max()),
            lengths=self._lengths.ctypes.data,
            slot_indices=self._slot_indices.ctypes.data,
            slot_stride=num_kv_heads * slot_length * head_dim,
            head_stride=slot_length * head_dim,
        )
        self._kv_cache = kv_cache
        self._scratch: Tensor | None = None  # allocated on first use: the layer gives the number of heads

    def attend_layer(self, layer: int, inputs: LayerInputs, output: Float[Tensor, "n A D"]) -> None:
        """Run the kernel for a layer; see `DecodeAttention`."""
        args, group_size = self._args, len(inputs.queries) // len(inputs.keys)
        if self._scratch is None:
            args.group_size, self._num_threads = group_size, torch.get_num_threads()
            args.scratch_stride = (group_size + 1) * args.max_length + group_size * args.head_dim
            self._scratch = torch.empty(self._num_threads * args.scratch_stride, dtype=torch.float32)
            args.scratch = self._scratch.data_ptr()
        args.keys, args.values = self._kv_cache.keys[layer].data_ptr(), self._kv_cache.values[layer].data_ptr()
        queries, keys, values = map(_as_float32, (inputs.queries, inputs.keys, inputs.values))
        target = output if output.dtype == torch.float32 else output.float()  # autocast may request another precision
        args.queries, args.queries_head_stride, args.queries_row_stride = queries.data_ptr(), *queries.stride()[:2]
        args.new_keys, args.new_keys_head_stride, args.new_keys_row_stride = keys.data_ptr(), *keys.stride()[:2]
        args.new_values = values.data_ptr()
        args.new_values_head_stride, args.new_values_row_stride = values.stride()[:2]
        args.output, args.scale, args.softcap = target.data_ptr(), inputs.scale, inputs.softcap or 0.0
        self._kernel.launch(args, self._num_threads)
        if target is not output:
            output.copy_(target)


def _as_float32(tensor: Float[Tensor, "A n D"]) -> Float[Tensor, "A n D"]:
    """Convert a tensor for the kernel, which reads addresses: float32, each head contiguous."""
    tensor = tensor.float()
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()
