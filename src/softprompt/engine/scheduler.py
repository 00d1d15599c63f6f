"""Which rows go on in the next step, and with how many of their tokens. Knows no torch.

Rows join and leave at every step (continuous batching: Yu et al. 2022, Orca). Every row that writes goes on with its
one token; what is left of the step's tokens goes to texts that are still read, in pieces, so that a long one stalls
nobody (chunked prefill: Agrawal et al. 2023, arXiv 2308.16369). Who joins next is the tenant that has been served least
(`counters.py`).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from softprompt.engine.counters import TokenCounters
from softprompt.engine.request import End, Request
from softprompt.errors import SettingError

WRITTEN = 2.0  # what a written token weighs beside one that is read: it has a step of its own
ALONE = 2  # times as many tokens are read in a step while no row writes: measured, 1 to 2% faster; 4 are no faster


@dataclass(eq=False)
class Running:
    """A request on its way.

    Attributes:
        request: what was asked.
        positions: that its prompt takes in front of it.
        known: its tokens: those of the request, then those written.
        computed: how many of them the model has seen.
        reused: how many of these it had seen before, in another row.
        slot: where its keys and values are; -1 while it waits.
    """

    request: Request
    positions: int = 0
    known: list[int] = field(init=False)
    computed: int = 0
    reused: int = 0
    slot: int = -1

    def __post_init__(self) -> None:
        self.known = list(self.request.ids)

    @property
    def room(self) -> int:
        """The positions that it may come to need. The last token written is never read."""
        return self.positions + len(self.request.ids) + self.request.sampling.max_new_tokens - 1

    @property
    def written(self) -> list[int]:
        """The response so far."""
        return self.known[len(self.request.ids) :]

    @property
    def is_writing(self) -> bool:
        """Its text has been read."""
        return self.computed >= len(self.request.ids)


@dataclass(frozen=True)
class Piece:
    """Tokens of a row that go through the model in a step: `count` of them, behind those that were computed."""

    row: Running
    count: int

    @property
    def is_last(self) -> bool:
        """The row's next token can be told from it."""
        return self.row.computed + self.count == len(self.row.known)


class Scheduler:
    """Decides.

    Args:
        slots: rows that may run at once.
        length: positions of a slot.
        tokens: that go through the model in a step, those of rows that write included; twice as many while none does.
        waiting: requests that may wait. A tenant may have as many waiting as there is room left, so there is always
            some for others (dynamic thresholds: Choudhury & Hahne 1998, doi 10.1109/90.664262).
        room: positions that the rows which run may come to need together; None for all that the slots have.
    """

    def __init__(self, slots: int, length: int, tokens: int, waiting: int, room: int | None = None):
        self.slots, self.tokens, self.most_waiting = slots, max(tokens, slots + 1), waiting
        self.room = slots * length if room is None else room
        self.length = min(length, self.room)
        self.running: list[Running] = []
        self._waiting: OrderedDict[str, deque[Running]] = OrderedDict()
        self._served = TokenCounters()

    @property
    def num_waiting(self) -> int:
        """Requests that have no slot yet."""
        return sum(map(len, self._waiting.values()))

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
        if len(self._waiting.get(request.tenant, ())) >= self.most_waiting - self.num_waiting:
            return None
        if request.tenant not in self._waiting:
            self._waiting[request.tenant] = deque()
            if not any(each.request.tenant == request.tenant for each in self.running):
                self._served.join(request.tenant, self._tenants - {request.tenant})
        self._waiting[request.tenant].append(row)
        return row

    @property
    def _tenants(self) -> set[str]:
        """Those that have something running or waiting."""
        return {row.request.tenant for row in self.running} | self._waiting.keys()

    def admit(self) -> list[Running]:
        """Give free slots to those that wait, the least served tenant first; those who have one now.

        Whose turn it is waits until there is room for it, and nobody overtakes: a long row comes to its turn too.
        """
        admitted = []
        while self._waiting and len(self.running) < self.slots:
            tenant = min(self._waiting, key=self._served.__getitem__)
            row = self._waiting[tenant][0]
            if sum(each.room for each in self.running) + row.room > self.room:
                break
            self._forget(row)
            self._served.add(tenant, float(len(row.request.ids)))
            row.slot = len(self.running)
            self.running.append(row)
            admitted.append(row)
        return admitted

    def plan(self, held: Collection[Running] = ()) -> list[Piece]:
        """The next step: rows that write first, in the order of their slots, then what is read.

        Rows that are `held` keep their slots and are not in it.

        While no row writes, none waits for its next token, and more is read at once, which is faster.
        A text takes half of what is left at most while others are to be read behind it, so that a long one does not
        keep short ones from their beginning.
        """
        running = [row for row in self.running if row not in held]
        writing = [Piece(row, 1) for row in running if row.is_writing]
        read = [row for row in running if not row.is_writing]
        left = self.tokens - len(writing) if writing else ALONE * self.tokens
        reading = []
        for row in read:
            share = left if row is read[-1] else (left + 1) // 2
            if share:
                reading.append(Piece(row, min(share, len(row.known) - row.computed)))
                left -= reading[-1].count
        return writing + reading

    def advance(self, piece: Piece, token: int | None) -> None:
        """A piece was computed, and told the row's next token if it was its last."""
        piece.row.computed += piece.count
        if token is not None:
            piece.row.known.append(token)
            self._served.add(piece.row.request.tenant, WRITTEN)

    def leave(self, row: Running) -> Running | None:
        """A row is over. The one that takes its slot moves there, and is given back; None if none does."""
        moved = None
        if row.slot < 0:
            self._forget(row)
        elif (last := self.running.pop()) is not row:
            last.slot, self.running[row.slot] = row.slot, last
            moved = last
        if self.is_idle:
            self._served.clear()
        else:
            self._served.forget(self._tenants)
        return moved

    def _forget(self, row: Running) -> None:
        queue = self._waiting[row.request.tenant]
        queue.remove(row)
        if not queue:
            del self._waiting[row.request.tenant]

    def overdue(self, now: float) -> Iterator[Running]:
        """Rows whose deadline is over."""
        for row in [*self.running, *(row for queue in self._waiting.values() for row in queue)]:
            if row.request.deadline is not None and row.request.deadline <= now:
                yield row

    def ended(self, row: Running, eos_token_ids: Collection[int]) -> End | None:
        """Whether a row's last token ends it: by being one of these, or as the last that it may have."""
        if row.written[-1] in eos_token_ids and not row.request.sampling.ignore_eos:
            return End.STOP
        return End.LENGTH if len(row.written) >= row.request.sampling.max_new_tokens else None
