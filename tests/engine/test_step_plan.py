"""What goes into a step, decided without a model. Most of it is tested as the scheduler uses it."""

from __future__ import annotations

from collections import Counter

from softprompt.engine.request import Request, Sampling
from softprompt.engine.scheduler import Scheduler


def scheduler(rows: dict[str, int], text: int = 1) -> Scheduler:
    """One with so many rows of each tenant, for which each token of a step takes as long as ten steps of none."""
    made = Scheduler(64, length=3000, tokens=256, waiting=256)
    for tenant, count in rows.items():
        for _ in range(count):
            made.add(Request((5,) * text, Sampling(max_new_tokens=500), tenant=tenant))
    made.admit()
    made.budget.base, made.budget.read, made.budget.write = 10.0, 1.0, 1.0
    return made


def step(made: Scheduler) -> Counter[str]:
    """The tokens of each tenant in a step."""
    pieces = made.plan()
    for piece in pieces:
        made.advance(piece, 7 if piece.is_last else None)
    return Counter(piece.row.request.tenant for piece in pieces for _ in range(piece.count))


def test_a_tenant_with_one_row_is_in_every_step_and_the_rows_of_the_other_take_turns() -> None:
    made = scheduler({"much": 60, "little": 1})
    many = [row for row in made.running if row.request.tenant == "much"]
    sizes = []
    for _ in range(60):
        tokens = step(made)
        assert tokens["little"] == 1
        sizes.append(sum(tokens.values()))
    assert max(sizes[1:]) <= 10  # a step of these takes as long as one and a half of the one row's
    written = [len(row.written) for row in many]
    assert min(written) >= 1
    assert max(written) - min(written) <= 2


def test_tenants_with_as_much_to_do_have_as_much_in_a_step() -> None:
    made = scheduler({"one": 30, "other": 30})
    done = sum((step(made) for _ in range(20)), Counter())
    assert abs(done["one"] - done["other"]) <= 20


def test_a_long_text_of_another_is_read_in_small_pieces_while_somebody_writes() -> None:
    made = scheduler({"little": 1})
    step(made)
    made.add(Request((5,) * 2000, Sampling(max_new_tokens=1), tenant="much"))
    made.admit()
    pieces = made.plan()
    assert [piece.row.request.tenant for piece in pieces] == ["little", "much"]
    assert sum(piece.count for piece in pieces) < 20
    made.leave(pieces[0].row)
    assert made.plan()[0].count == 512


def test_rows_that_are_held_are_not_in_it() -> None:
    made = scheduler({"one": 2})
    assert {piece.row for piece in made.plan(held=[made.running[0]])} == {made.running[1]}
