"""Who holds how much of the slots, and whose rows give theirs back while others wait. Knows no torch.

A tenant's share is the larger of two: its rows among the slots, and their positions among those that there is memory
for (dominant resource fairness: Ghodsi et al. 2011, NSDI). A row makes room for another tenant's where its own
tenant keeps at least as much without it as the other has with its new one. So two tenants never take the same slot from
each other again and again, and one large row keeps its slot. Where that gives nothing to a tenant that has nothing,
since there are more tenants than slots, they take turns: a row whose turn is over makes room for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from softprompt.engine.running import Running

TURN = 64  # tokens that a row writes at least before its turn is over
REREAD = 16  # and one for so many tokens that will be read anew, so that turns cost less than they bring


class SlotShares:
    """What tenants hold of a number of slots, and of the positions that rows may come to need.

    Args:
        slots: rows that may run at once.
        positions: that they may come to need together.
    """

    def __init__(self, slots: int, positions: int):
        self._free_slots, self._free_positions = slots, positions
        self._slots, self._positions = slots, positions
        self._held: dict[str, tuple[int, int]] = {}  # rows and their positions

    def of(self, tenant: str) -> float:
        """A tenant's share, from 0 to 1."""
        return self._share(*self._held.get(tenant, (0, 0)))

    def has_room(self, positions: int, freed: Sequence[Running] = ()) -> bool:
        """Whether one more row with so many positions may run, once some have made room."""
        return self._free_slots + len(freed) >= 1 and self._free_positions + sum(r.room for r in freed) >= positions

    def take(self, tenant: str, positions: int) -> None:
        """A tenant's row has a slot from now on."""
        self._change(tenant, 1, positions)

    def give_back(self, tenant: str, positions: int) -> None:
        """A tenant's row has no slot any more."""
        self._change(tenant, -1, -positions)

    def find_victims(
        self, running: Sequence[Running], tenant: str, positions: int, served: Callable[[str], float]
    ) -> list[Running]:
        """Find rows that make room for another.

        Args:
            running: all rows with a slot.
            tenant: whose row is to have one.
            positions: that it may come to need.
            served: how much a tenant was served.

        Returns:
            The rows; none where it is not its tenant's turn.
        """
        others = [row for row in running if row.request.tenant != tenant]
        return self._beyond_share(others, tenant, positions) or self._beyond_turn(others, tenant, positions, served)

    def _beyond_share(self, others: Sequence[Running], tenant: str, positions: int) -> list[Running]:
        """Of the tenants with the largest shares, the rows of which least has to be computed anew."""
        held, shrunk = self._held.get(tenant, (0, 0)), dict(self._held)
        wanted = self._share(held[0] + 1, held[1] + positions)
        rows = _by_tenant(sorted(others, key=lambda row: (row.computed, -row.slot), reverse=True))
        victims: list[Running] = []
        while not self.has_room(positions, freed=victims):
            largest = max(rows, key=lambda name: self._share(*shrunk[name]), default=None)
            if largest is None:
                return []
            victim = rows[largest].pop()
            left = (shrunk[largest][0] - 1, shrunk[largest][1] - victim.room)
            if self._share(*left) < wanted:  # else whoever has one large row would lose it again and again
                return []
            victims.append(victim)
            shrunk[largest] = left
            if not rows[largest]:
                del rows[largest]
        return victims

    def _beyond_turn(
        self, others: Sequence[Running], tenant: str, positions: int, served: Callable[[str], float]
    ) -> list[Running]:
        """Rows whose turn is over, of the tenants that were served most, for one that has nothing."""
        if tenant in self._held:
            return []
        own, victims = served(tenant), list[Running]()
        for row in sorted(others, key=lambda row: served(row.request.tenant), reverse=True):
            if _is_turn_over(row) and served(row.request.tenant) >= own:
                victims.append(row)
                if self.has_room(positions, freed=victims):
                    return victims
        return []

    def _share(self, slots: int, positions: int) -> float:
        return max(slots / self._slots, positions / self._positions)

    def _change(self, tenant: str, slots: int, positions: int) -> None:
        self._free_slots -= slots
        self._free_positions -= positions
        has_slots, has_positions = self._held.pop(tenant, (0, 0))
        if has_slots + slots:
            self._held[tenant] = (has_slots + slots, has_positions + positions)


def _by_tenant(rows: Sequence[Running]) -> dict[str, list[Running]]:
    by_tenant: dict[str, list[Running]] = {}
    for row in rows:
        by_tenant.setdefault(row.request.tenant, []).append(row)
    return by_tenant


def _is_turn_over(row: Running) -> bool:
    return row.turn >= max(TURN, len(row.known) // REREAD)
