"""Attention kernel of decoding sequences on a CPU, compiled by numba.

A decode step reads all keys and values once and computes little, so its speed is the memory bandwidth. torch's matrix
products reach half of that bandwidth, and read each slot up to the longest sequence. This kernel reads each slot up to
its own length, and prefetches the following data.

The kernel runs on the threads that torch uses on Linux, those of GNU OpenMP: other threads would compete for the same
cores. One thread computes one head of one sequence, so a result does not depend on the rest of the step.
"""

from __future__ import annotations

import ctypes
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.numpy_support import from_dtype

logger = logging.getLogger(__name__)


class KernelArgs(ctypes.Structure):
    """Arguments of the kernel for one layer.

    Strides count float32 numbers. `lengths`, `slot_indices`, `keys`, `values`, `queries`, `new_keys`, `new_values`,
    `output` and `scratch` are addresses.
    """

    _fields_ = [
        *((name, ctypes.c_uint64) for name in ("num_sequences", "num_kv_heads", "group_size", "head_dim")),
        *((name, ctypes.c_uint64) for name in ("max_length", "lengths", "slot_indices")),
        *((name, ctypes.c_uint64) for name in ("keys", "values", "slot_stride", "head_stride")),
        *((name, ctypes.c_uint64) for name in ("queries", "queries_row_stride", "queries_head_stride")),
        *((name, ctypes.c_uint64) for name in ("new_keys", "new_keys_row_stride", "new_keys_head_stride")),
        *((name, ctypes.c_uint64) for name in ("new_values", "new_values_row_stride", "new_values_head_stride")),
        *((name, ctypes.c_uint64) for name in ("output", "scratch", "scratch_stride")),
        *((name, ctypes.c_float) for name in ("scale", "softcap")),
    ]


# Sums may be reordered and multiply-adds fused. NaN is respected: it may only affect its own sequence.
FASTMATH = {"reassoc", "contract", "arcp", "nsz"}

# Unsigned, or numba checks every index for being negative.
ZERO, ONE, FLOAT_BYTES, CACHE_LINE_BYTES = np.uint64(0), np.uint64(1), np.uint64(4), np.uint64(64)
UNBOUNDED = np.uint64(1 << 60)  # length of arrays whose bounds are not checked

# Polynomial through Chebyshev nodes for 2**x, x in 0 … 1; relative error below 2e-7.
C0, C1, C2 = np.float32(0.9999998807907104), np.float32(0.693154513835907), np.float32(0.240141823887825)
C3, C4, C5 = np.float32(0.05586033686995506), np.float32(0.008949590846896172), np.float32(0.001893754000775516)
LOG2_E, MIN_EXPONENT, ZERO_F32 = np.float32(math.log2(math.e)), np.float32(-126), np.float32(0)
MANTISSA_BITS = np.int32(23)  # number of bits below the exponent

_omp_thread_num = types.ExternalFunction("omp_get_thread_num", types.int32())
_omp_num_threads = types.ExternalFunction("omp_get_num_threads", types.int32())


@intrinsic
def _as_pointer(_typing, address):
    """Cast an address to a pointer."""

    def generate_code(_context, builder, _signature, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate_code


@intrinsic
def _prefetch_line(_typing, address):
    """Prefetch the cache line at an address, without waiting; invalid addresses are ignored."""

    def generate_code(context, builder, _signature, arguments):
        word = ir.IntType(32)
        signature = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, signature, "llvm.prefetch.p0")
        builder.call(function, [builder.inttoptr(arguments[0], cgutils.voidptr_t), word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(address), generate_code


@numba.njit(inline="always")
def _float_array(address):
    return numba.carray(_as_pointer(address), UNBOUNDED, np.float32)


@numba.njit(fastmath=FASTMATH)
def _compute_scores(queries, keys, scores, length, group_size, head_dim, scale, softcap, prefetch_address):
    """Compute the attention scores of a group's queries, and prefetch the values at `prefetch_address`."""
    for position in range(length):
        for line in range(head_dim * FLOAT_BYTES // CACHE_LINE_BYTES):
            _prefetch_line(prefetch_address + position * head_dim * FLOAT_BYTES + line * CACHE_LINE_BYTES)
        for query in range(group_size):
            total = ZERO_F32
            for i in range(head_dim):
                total += queries[query * head_dim + i] * keys[position * head_dim + i]
            total *= scale
            if softcap > ZERO_F32:
                total = softcap * np.float32(math.tanh(total / softcap))
            scores[query * length + position] = total


@numba.njit(fastmath=FASTMATH)
def _apply_softmax(scores, score_bits, exponents, length, offset):
    """Apply softmax to the scores of one query. Powers of two: the integer part goes into the exponent bits."""
    maximum = scores[offset]
    for position in range(offset, offset + length):
        maximum = max(maximum, scores[position])
    for position in range(length):
        power = max((scores[offset + position] - maximum) * LOG2_E, MIN_EXPONENT)
        floor = np.float32(math.floor(power))
        x = power - floor
        scores[offset + position] = ((((C5 * x + C4) * x + C3) * x + C2) * x + C1) * x + C0
        exponents[position] = np.int32(floor)
    for position in range(length):
        score_bits[offset + position] += exponents[position] << MANTISSA_BITS
    total = ZERO_F32
    for position in range(length):
        total += scores[offset + position]
    for position in range(length):
        scores[offset + position] /= total


@numba.njit(fastmath=FASTMATH)
def _sum_values(scores, values, output, length, group_size, head_dim, prefetch_address):
    """Sum the values weighted by the scores, and prefetch the next keys at `prefetch_address`."""
    for i in range(group_size * head_dim):
        output[i] = ZERO_F32
    for position in range(length):
        for line in range(head_dim * FLOAT_BYTES // CACHE_LINE_BYTES):
            _prefetch_line(prefetch_address + position * head_dim * FLOAT_BYTES + line * CACHE_LINE_BYTES)
        for query in range(group_size):
            weight = scores[query * length + position]
            for i in range(head_dim):
                output[query * head_dim + i] += weight * values[position * head_dim + i]


@numba.njit(fastmath=FASTMATH)
def _copy_head(source_address, row_stride, head_stride, sequence, head, target, position, head_dim):
    """Copy the vector of one head of a sequence."""
    source = _float_array(source_address + (sequence * row_stride + head * head_stride) * FLOAT_BYTES)
    for i in range(head_dim):
        target[position * head_dim + i] = source[i]


@numba.njit(fastmath=FASTMATH)
def _attend_head(args, sequence, head, length, offset, next_offset, scratch):
    """Compute attention of a sequence for one KV head.

    The head's keys and values are at `offset`, the next head's at `next_offset`.
    """
    group_size, head_dim, num_scores = args.group_size, args.head_dim, args.group_size * args.max_length
    scores, score_bits = _float_array(scratch), numba.carray(_as_pointer(scratch), num_scores, np.int32)
    exponents = numba.carray(_as_pointer(scratch + num_scores * FLOAT_BYTES), args.max_length, np.int32)
    queries = _float_array(scratch + (num_scores + args.max_length) * FLOAT_BYTES)
    keys, values = _float_array(args.keys + offset), _float_array(args.values + offset)
    _copy_head(
        args.new_keys, args.new_keys_row_stride, args.new_keys_head_stride, sequence, head, keys, length - ONE, head_dim
    )
    _copy_head(
        args.new_values,
        args.new_values_row_stride,
        args.new_values_head_stride,
        sequence,
        head,
        values,
        length - ONE,
        head_dim,
    )
    for query in range(group_size):
        _copy_head(
            args.queries,
            args.queries_row_stride,
            args.queries_head_stride,
            sequence,
            head * group_size + query,
            queries,
            query,
            head_dim,
        )
    _compute_scores(queries, keys, scores, length, group_size, head_dim, args.scale, args.softcap, args.values + offset)
    for query in range(group_size):
        _apply_softmax(scores, score_bits, exponents, length, query * length)
    output = _float_array(args.output + (sequence * args.num_kv_heads + head) * group_size * head_dim * FLOAT_BYTES)
    _sum_values(scores, values, output, length, group_size, head_dim, args.keys + next_offset)


def _attend_thread(address):
    """Compute one thread's part: the heads of all sequences that begin in its share of the positions."""
    args = numba.carray(address, 1)[0]
    thread, num_threads = np.uint64(_omp_thread_num()), np.uint64(_omp_num_threads())
    num_sequences, num_kv_heads = args.num_sequences, args.num_kv_heads
    lengths = numba.carray(_as_pointer(args.lengths), num_sequences, np.uint64)
    slot_indices = numba.carray(_as_pointer(args.slot_indices), num_sequences, np.uint64)
    scratch = args.scratch + thread * args.scratch_stride * FLOAT_BYTES
    total_positions = ZERO
    for sequence in range(num_sequences):
        total_positions += lengths[sequence] * num_kv_heads
    preceding_positions = ZERO
    for sequence in range(num_sequences):
        for head in range(num_kv_heads):
            if preceding_positions * num_threads // total_positions == thread:
                offset = (slot_indices[sequence] * args.slot_stride + head * args.head_stride) * FLOAT_BYTES
                next_offset = offset + args.head_stride * FLOAT_BYTES
                if head + ONE == num_kv_heads:
                    next_offset = (
                        slot_indices[min(sequence + ONE, num_sequences - ONE)] * args.slot_stride * FLOAT_BYTES
                    )
                _attend_head(args, sequence, head, lengths[sequence], offset, next_offset, scratch)
            preceding_positions += lengths[sequence]


class KernelUnavailable(Exception):
    """The kernel cannot be compiled, or cannot run on torch's threads."""


@dataclass(frozen=True)
class DecodeKernel:
    """Compiled kernel.

    Attributes:
        address: address of the kernel.
        gomp_parallel: runs a function on each of torch's threads.
    """

    address: int
    gomp_parallel: Callable[..., None]

    def launch(self, args: KernelArgs, num_threads: int) -> None:
        """Run the kernel on at most `num_threads` threads, each with its own scratch memory."""
        self.gomp_parallel(self.address, args, num_threads, 0)


@cache
def load_kernel() -> DecodeKernel:
    """Compile the kernel, once in a process and not before it is needed.

    Raises:
        KernelUnavailable: torch uses other threads, or numba cannot compile the kernel.
    """
    return DecodeKernel(gomp_parallel=_load_gomp_parallel(), address=_compile_kernel())


def _compile_kernel() -> int:
    """Return the kernel's address. Compiling takes seconds; numba caches the result where it can."""
    try:
        return _compile_function(cache=True)
    except Exception as error:  # no writable folder, full disk or damaged cache
        logger.warning(
            "numba cannot cache the kernel, which is compiled at every start (%s): set NUMBA_CACHE_DIR", error
        )
    try:
        return _compile_function(cache=False)
    except Exception as error:
        raise KernelUnavailable(f"numba cannot compile the kernel: {error}") from error


def _compile_function(*, cache: bool) -> int:
    signature = types.void(types.CPointer(from_dtype(np.dtype(KernelArgs))))
    address = numba.cfunc(signature, fastmath=FASTMATH, cache=cache)(_attend_thread).address
    assert address is not None
    return address


def _load_gomp_parallel() -> Callable[..., None]:
    """Return the function that runs another function on each of torch's threads."""
    try:
        gomp_parallel = ctypes.CDLL(None).GOMP_parallel
    except AttributeError as error:
        raise KernelUnavailable("torch does not use GNU OpenMP here") from error
    gomp_parallel.argtypes = [ctypes.c_void_p, ctypes.POINTER(KernelArgs), ctypes.c_uint, ctypes.c_uint]
    gomp_parallel.restype = None
    return gomp_parallel
