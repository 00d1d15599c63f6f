"""Which rows go into a step, and with how many of their tokens. Knows no torch.

Rows that write have one token each, and go first; what is left of the step goes to texts that are read, in pieces.
While several tenants are in it, a step may be bounded (`step_budget.py`): then a tenant's rows take turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from softprompt.engine.running import Running
from softprompt.engine.step_budget import StepBudget, equal_shares

WRITTEN = 2.0  # what a written token weighs beside one that is read: it has a step of its own
MANY = 10**6  # tokens: more than any step has
ALONE = 2  # times as many tokens are read in a step while no row writes: measured, 1 to 2% faster; 4 are no faster


@dataclass(frozen=True)
class Piece:
    """Tokens of a row that go through the model in a step: `count` of them, behind those that were computed."""

    row: Running
    count: int

    @property
    def is_last(self) -> bool:
        """The row's next token can be told from it."""
        return self.row.computed + self.count == len(self.row.known)


def token_counts(pieces: Iterable[Piece]) -> tuple[int, int]:
    """How many tokens of pieces are read, and how many are written."""
    read = written = 0
    for piece in pieces:
        if piece.row.is_writing:
            written += 1
        else:
            read += piece.count
    return read, written


def plan_step(rows: Sequence[Running], tokens: int, budget: StepBudget, *, others_come: bool = False) -> list[Piece]:
    """The pieces of a step: rows that write first, in the order of their slots, then what is read.

    While no row writes, none waits for its next token, and more is read at once, which is faster.

    Args:
        rows: those that may be in it.
        tokens: that go through the model in it.
        budget: what steps take.
        others_come: tenants without a row may come while it runs.
    """
    writing = [Piece(row, 1) for row in rows if row.is_writing]
    reading = _divide([row for row in rows if not row.is_writing], tokens - len(writing) if writing else ALONE * tokens)
    by_tenant = _by_tenant([*writing, *reading])
    wanted = {tenant: budget.cost(*token_counts(pieces)) for tenant, pieces in by_tenant.items()}
    limit = budget.limit(wanted, others_come=others_come)
    if limit is None or limit >= sum(wanted.values()):
        return writing + reading
    shares = equal_shares(wanted, limit)
    kept = [piece for tenant, pieces in by_tenant.items() for piece in _within(pieces, shares[tenant], budget)]
    return sorted(kept, key=lambda piece: (not piece.row.is_writing, piece.row.slot))


def _within(pieces: Sequence[Piece], share: float, budget: StepBudget) -> list[Piece]:
    """The pieces of a tenant that its share of a step, in seconds, has room for; at least one token.

    Those whose last step is the longest ago come first.
    """
    kept: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: piece.row.last_step):
        each = budget.write if piece.row.is_writing else budget.read
        count = min(piece.count, max(_tokens(share, each), 0 if kept else 1))
        if not count:
            break
        kept.append(Piece(piece.row, count))
        share -= each * count
    return kept


def _tokens(seconds: float, each: float) -> int:
    """How many tokens fit into some time, when each takes so long."""
    return int(min(max(seconds, 0.0) / each, MANY)) if each > 0 else MANY


def _divide(rows: Sequence[Running], tokens: int) -> list[Piece]:
    """What is read of rows in a step of so many tokens.

    Each tenant has an equal part, of which what it does not need goes to the others.
    """
    by_tenant: dict[str, list[Running]] = {}
    for row in rows:
        by_tenant.setdefault(row.request.tenant, []).append(row)
    pieces: list[Piece] = []
    groups = sorted(by_tenant.values(), key=lambda own: sum(row.missing for row in own))
    for index, own in enumerate(groups):
        read = _divide_among(own, ceil(tokens / (len(groups) - index)))
        tokens -= sum(piece.count for piece in read)
        pieces += read
    return pieces


def _divide_among(rows: Sequence[Running], tokens: int) -> list[Piece]:
    """What is read of a tenant's rows.

    A text takes half of what is left at most while others are to be read behind it, so that a long one does not keep
    short ones from their beginning.
    """
    pieces = []
    for row in rows:
        share = tokens if row is rows[-1] else (tokens + 1) // 2
        if share:
            pieces.append(Piece(row, min(share, row.missing)))
            tokens -= pieces[-1].count
    return pieces


def _by_tenant(pieces: Sequence[Piece]) -> dict[str, list[Piece]]:
    by_tenant: dict[str, list[Piece]] = {}
    for piece in pieces:
        by_tenant.setdefault(piece.row.request.tenant, []).append(piece)
    return by_tenant
