"""Which rows go on in the next step, and with how many of their tokens. Knows no torch.

Rows join and leave at every step (continuous batching: Yu et al. 2022, Orca). Every row that writes goes on with its
one token; what is left of the step's tokens goes to texts that are still read, in pieces, so that a long one stalls
nobody (chunked prefill: Agrawal et al. 2023, arXiv 2308.16369): `step_plan.py`. Who joins next is the tenant that has
the smallest share of the slots, and of those with the same the one that was served least (`fair_queue.py`). While
others wait, a tenant with more than its share gives slots back: its rows wait again, and go on later from the tokens
that they have (`slot_shares.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from softprompt.engine.request import End, Request
from softprompt.engine.running import Running
from softprompt.engine.slot_shares import SlotShares
from softprompt.engine.step_budget import StepBudget
from softprompt.engine.step_plan import WRITTEN, Piece, plan_step
from softprompt.errors import SettingError
from softprompt.fair_queue import FairQueue


class Scheduler:
    """Decides.

    Args:
        slots: rows that may run at once.
        length: positions of a slot.
        tokens: that go through the model in a step, those of rows that write included; twice as many while none does.
        waiting: requests that may wait. A tenant may have as many waiting as there is room left, so there is always
            some for others (dynamic thresholds: Choudhury & Hahne 1998, doi 10.1109/90.664262).
        room: positions that the rows which run may come to need together; None for all that the slots have.

    Attributes:
        budget: is told what steps take, and bounds those that several tenants wait for.
    """

    def __init__(self, slots: int, length: int, tokens: int, waiting: int, room: int | None = None):
        self.slots, self.tokens = slots, max(tokens, slots + 1)
        self.room = slots * length if room is None else room
        self.length = min(length, self.room)
        self.running: list[Running] = []
        self._waiting: FairQueue[Running] = FairQueue(waiting)
        self._shares = SlotShares(slots, self.room)
        self.budget, self._step = StepBudget(), 0

    @property
    def num_waiting(self) -> int:
        """Rows that have no slot, or none any more."""
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        """There is nothing to do."""
        return not self.running and not self._waiting

    def add(self, request: Request, positions: int = 0) -> Running | None:
        """Let a request wait for its turn, behind a prompt of so many positions; None if there is no room to wait.

        Raises:
            SettingError: it is longer than a slot.
        """
        row = Running(request, positions)
        if row.room > self.length:
            raise SettingError(
                f"{positions} virtual tokens, {len(request.ids)} tokens of text and "
                f"{request.sampling.max_new_tokens} of the response are more than the {self.length} that a row may have"
            )
        return row if self._waiting.add(request.tenant, row, float(len(request.ids))) else None

    def admit(self, preempt: Callable[[Running], None] | None = None) -> list[Running]:
        """Give rows slots: to the tenant with the smallest share first.

        A row joins once there is room for it, and nobody overtakes: a long row comes to its turn too. Where there is no
        room, rows of a tenant that has more than its share make it (`SlotShares.find_victims`).

        Args:
            preempt: takes a row's slot back by calling `preempt` of this scheduler; that itself if it is left out.

        Returns:
            The rows that have joined.
        """
        admitted = []
        while self._waiting:
            tenant, row = self._waiting.peek()
            if not self._shares.has_room(row.room):
                victims = self._shares.find_victims(self.running, tenant, row.room, self._waiting.served)
                if not victims:
                    break
                for victim in victims:
                    (preempt or self.preempt)(victim)
            self._give_slot(tenant, row)
            admitted.append(row)
        return list(dict.fromkeys(row for row in admitted if row.slot >= 0))

    def _give_slot(self, tenant: str, row: Running) -> None:
        self._waiting.take_from(tenant)
        self._shares.take(tenant, row.room)
        self._hold(tenant)
        row.slot, row.turn = len(self.running), 0
        self.running.append(row)

    def preempt(self, row: Running) -> Running | None:
        """Take a row's slot back: it waits again, in front of its tenant's others, and its tokens are read anew.

        Returns:
            The row that takes its slot, as `leave` tells it.
        """
        moved = self._free_slot(row)
        row.slot, row.computed, row.preemptions = -1, 0, row.preemptions + 1
        self._waiting.put_back(row.request.tenant, row)
        self._hold(row.request.tenant)
        return moved

    def plan(self, held: Collection[Running] = (), *, others_come: bool = False) -> list[Piece]:
        """The next step: rows that write first, in the order of their slots, then what is read; see `plan_step`.

        Args:
            held: rows that keep their slots and are not in this step.
            others_come: tenants without a row asked lately.
        """
        self._step += 1
        rows = [row for row in self.running if row not in held] if held else self.running
        pieces = plan_step(rows, self.tokens, self.budget, others_come=others_come)
        for piece in pieces:
            piece.row.last_step = self._step
        return pieces

    def advance(self, piece: Piece, token: int | None) -> None:
        """A piece was computed, and told the row's next token if it was its last."""
        row = piece.row
        row.computed += piece.count
        if token is not None:
            row.known.append(token)
            row.turn += 1
            self._waiting.charge(row.request.tenant, WRITTEN)

    def leave(self, row: Running) -> Running | None:
        """A row is over. The one that takes its slot moves there, and is given back; None if none does."""
        if row.slot < 0:
            self._waiting.remove(row.request.tenant, row)
            return None
        moved = self._free_slot(row)
        self._hold(row.request.tenant)
        return moved

    def _free_slot(self, row: Running) -> Running | None:
        self._shares.give_back(row.request.tenant, row.room)
        if (last := self.running.pop()) is row:
            return None
        last.slot, self.running[row.slot] = row.slot, last
        return last

    def _hold(self, tenant: str) -> None:
        self._waiting.set_held(tenant, self._shares.of(tenant))

    def overdue(self, now: float) -> Iterator[Running]:
        """Rows whose deadline is over."""
        for row in [*self.running, *self._waiting]:
            if row.request.deadline is not None and row.request.deadline <= now:
                yield row

    def ended(self, row: Running, eos_token_ids: Collection[int]) -> End | None:
        """Whether a row's last token ends it: by being one of these, or as the last that it may have."""
        if row.written[-1] in eos_token_ids and not row.request.sampling.ignore_eos:
            return End.STOP
        return End.LENGTH if len(row.written) >= row.request.sampling.max_new_tokens else None
