"""What numba compiles: the attention of rows that write a token each, on a CPU.

Such a step reads all keys and values once and does little with them, so what counts is how fast memory is read. torch's
products of matrices read at half of what it gives, and of each row as much as of the longest. Here each row is read as
far as it goes, and what comes next is fetched meanwhile.

The kernel is divided among the helpers that torch's own calls are divided among on Linux, GNU's OpenMP: others would
want the same cores. A row's head is one thread's work, so what it finds depends on nothing else in the step.
"""

from __future__ import annotations

import ctypes
import logging
import math

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.numpy_support import from_dtype

logger = logging.getLogger(__name__)


class Told(ctypes.Structure):
    """What the kernel is told of a layer. Strides are in numbers of four bytes; what is no count is an address."""

    _fields_ = [
        *((name, ctypes.c_uint64) for name in ("rows", "groups", "group", "width", "longest", "lengths", "slots")),
        *((name, ctypes.c_uint64) for name in ("keys", "values", "slot_stride", "head_stride")),
        *((name, ctypes.c_uint64) for name in ("queries", "queries_row", "queries_head")),
        *((name, ctypes.c_uint64) for name in ("new_keys", "new_keys_row", "new_keys_head")),
        *((name, ctypes.c_uint64) for name in ("new_values", "new_values_row", "new_values_head")),
        *((name, ctypes.c_uint64) for name in ("found", "scratch", "scratch_stride")),
        *((name, ctypes.c_float) for name in ("scale", "softcap")),
    ]


# Sums may be made in any order and products in one go; what is no number spoils no row but its own.
FAST = {"reassoc", "contract", "arcp", "nsz"}

# Unsigned, or numba asks of every index whether it counts from the end.
NONE, ONE, NUMBER, LINE = np.uint64(0), np.uint64(1), np.uint64(4), np.uint64(64)
ANY = np.uint64(1 << 60)  # the length of what only addresses bound

# Two to the power of 0 … 1 as a polynomial through Chebyshev's nodes, its relative error below 2e-7.
C0, C1, C2 = np.float32(0.9999998807907104), np.float32(0.693154513835907), np.float32(0.240141823887825)
C3, C4, C5 = np.float32(0.05586033686995506), np.float32(0.008949590846896172), np.float32(0.001893754000775516)
LOG2_E, LEAST, NOTHING = np.float32(math.log2(math.e)), np.float32(-126), np.float32(0)
MANTISSA = np.int32(23)  # bits behind which the exponent stands

_thread = types.ExternalFunction("omp_get_thread_num", types.int32())
_threads = types.ExternalFunction("omp_get_num_threads", types.int32())


@intrinsic
def _pointer(_typing, address):
    """An address as a pointer."""

    def generate(_context, builder, _signature, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


@intrinsic
def _fetch(_typing, address):
    """Have the cache line at an address brought near; nothing waits for it, and any address will do."""

    def generate(context, builder, _signature, arguments):
        word = ir.IntType(32)
        signature = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, signature, "llvm.prefetch.p0")
        builder.call(function, [builder.inttoptr(arguments[0], cgutils.voidptr_t), word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(address), generate


@numba.njit(inline="always")
def _floats(address):
    return numba.carray(_pointer(address), ANY, np.float32)


@numba.njit(fastmath=FAST)
def _weigh(asked, known, weights, length, group, width, scale, softcap, ahead):
    """What each query of a group makes of each key; the values, which are `ahead`, come meanwhile."""
    for place in range(length):
        for line in range(width * NUMBER // LINE):
            _fetch(ahead + place * width * NUMBER + line * LINE)
        for query in range(group):
            total = NOTHING
            for i in range(width):
                total += asked[query * width + i] * known[place * width + i]
            total *= scale
            if softcap > NOTHING:
                total = softcap * np.float32(math.tanh(total / softcap))
            weights[query * length + place] = total


@numba.njit(fastmath=FAST)
def _share(weights, bits, whole, length, first):
    """The softmax of one query's weights; the powers are of two, whose whole part is an exponent's bits."""
    most = weights[first]
    for place in range(first, first + length):
        most = max(most, weights[place])
    for place in range(length):
        power = max((weights[first + place] - most) * LOG2_E, LEAST)
        floor = np.float32(math.floor(power))
        x = power - floor
        weights[first + place] = ((((C5 * x + C4) * x + C3) * x + C2) * x + C1) * x + C0
        whole[place] = np.int32(floor)
    for place in range(length):
        bits[first + place] += whole[place] << MANTISSA
    total = NOTHING
    for place in range(length):
        total += weights[first + place]
    for place in range(length):
        weights[first + place] /= total


@numba.njit(fastmath=FAST)
def _gather(weights, values, found, length, group, width, ahead):
    """The values' sums, weighted; the next row's keys, which are `ahead`, come meanwhile."""
    for i in range(group * width):
        found[i] = NOTHING
    for place in range(length):
        for line in range(width * NUMBER // LINE):
            _fetch(ahead + place * width * NUMBER + line * LINE)
        for query in range(group):
            weight = weights[query * length + place]
            for i in range(width):
                found[query * width + i] += weight * values[place * width + i]


@numba.njit(fastmath=FAST)
def _put(new, row_stride, head_stride, row, head, memory, place, width):
    """Copy the numbers that a row has for a head."""
    numbers = _floats(new + (row * row_stride + head * head_stride) * NUMBER)
    for i in range(width):
        memory[place * width + i] = numbers[i]


@numba.njit(fastmath=FAST)
def _attend_head(told, row, head, length, at, following, scratch):
    """What a row's queries of a group of heads find; its keys and values are `at`, the next head's `following`."""
    group, width, room = told.group, told.width, told.group * told.longest
    weights, bits = _floats(scratch), numba.carray(_pointer(scratch), room, np.int32)
    whole = numba.carray(_pointer(scratch + room * NUMBER), told.longest, np.int32)
    asked = _floats(scratch + (room + told.longest) * NUMBER)
    keys, values = _floats(told.keys + at), _floats(told.values + at)
    _put(told.new_keys, told.new_keys_row, told.new_keys_head, row, head, keys, length - ONE, width)
    _put(told.new_values, told.new_values_row, told.new_values_head, row, head, values, length - ONE, width)
    for query in range(group):
        _put(told.queries, told.queries_row, told.queries_head, row, head * group + query, asked, query, width)
    _weigh(asked, keys, weights, length, group, width, told.scale, told.softcap, told.values + at)
    for query in range(group):
        _share(weights, bits, whole, length, query * length)
    found = _floats(told.found + (row * told.groups + head) * group * width * NUMBER)
    _gather(weights, values, found, length, group, width, told.keys + following)


def _attend(address):
    """One thread's part: of all rows' heads those that begin in its share of the positions."""
    told = numba.carray(address, 1)[0]
    thread, threads, rows, groups = np.uint64(_thread()), np.uint64(_threads()), told.rows, told.groups
    lengths = numba.carray(_pointer(told.lengths), rows, np.uint64)
    slots = numba.carray(_pointer(told.slots), rows, np.uint64)
    scratch = told.scratch + thread * told.scratch_stride * NUMBER
    everything = NONE
    for row in range(rows):
        everything += lengths[row] * groups
    before = NONE
    for row in range(rows):
        for head in range(groups):
            if before * threads // everything == thread:
                at = (slots[row] * told.slot_stride + head * told.head_stride) * NUMBER
                following = at + told.head_stride * NUMBER
                if head + ONE == groups:
                    following = slots[min(row + ONE, rows - ONE)] * told.slot_stride * NUMBER
                _attend_head(told, row, head, lengths[row], at, following, scratch)
            before += lengths[row]


def _compiled():
    """The kernel's address. It is compiled in seconds, and found again the next time where numba can keep it.

    Raises:
        ImportError: numba cannot compile it here.
    """
    signature = types.void(types.CPointer(from_dtype(np.dtype(Told))))
    try:
        return numba.cfunc(signature, fastmath=FAST, cache=True)(_attend).address
    except Exception as error:  # no folder can be written, the disk is full, what was kept is damaged
        logger.warning("the kernel is compiled at every start (%s): see NUMBA_CACHE_DIR", error)
    try:
        return numba.cfunc(signature, fastmath=FAST)(_attend).address
    except Exception as error:
        raise ImportError(f"numba cannot compile the kernel: {error}") from error


def _divided():
    """What has each of torch's helpers run a function.

    Raises:
        ImportError: torch has others here.
    """
    try:
        call = ctypes.CDLL(None).GOMP_parallel
    except AttributeError as error:
        raise ImportError("torch's calls are not divided by GNU's OpenMP here") from error
    call.argtypes, call.restype = [ctypes.c_void_p, ctypes.POINTER(Told), ctypes.c_uint, ctypes.c_uint], None
    return call


_CALL, _ADDRESS = _divided(), _compiled()


def run(told: Told, threads: int) -> None:
    """Run the kernel, on so many threads at most: each has its scratch."""
    _CALL(_ADDRESS, told, threads, 0)
