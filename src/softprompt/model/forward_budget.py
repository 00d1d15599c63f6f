"""`ForwardBudget`: what a forward pass costs on a device, by which callers form their batches."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ForwardBudget:
    """The cost and the limit of one forward pass, both in tokens.

    Attributes:
        overhead: fixed cost of a pass. Even a batch of few tokens reads all weights from memory, so a batch may be
            padded by up to this many tokens before a second pass is cheaper.
        max_tokens: maximum number of tokens in a pass; more would need more memory without being faster.
    """

    overhead: int
    max_tokens: int


CPU_BUDGET = ForwardBudget(overhead=128, max_tokens=2048)
ACCELERATOR_BUDGET = ForwardBudget(overhead=4096, max_tokens=16384)
SHARDED_BUDGET = ForwardBudget(overhead=10**9, max_tokens=10**9)  # one pass: all processes must run equally often
