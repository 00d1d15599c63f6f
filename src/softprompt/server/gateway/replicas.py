"""Several replicas as one: whose turn it is, whom else to ask when one fails, and who is looked after."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from softprompt.server.gateway.connections import client
from softprompt.server.gateway.refusals import NoReplica, ReplicaFailed, Unavailable, not_taken
from softprompt.server.gateway.replica import Replica
from softprompt.server.gateway.ring import Ring, chosen
from softprompt.server.gateway.told import Declined, Lost, NotFinite
from softprompt.server.metrics import Metrics
from softprompt.server.refusal import Refusal

logger = logging.getLogger(__name__)

T = TypeVar("T")

PERIOD = 1.0  # seconds between two probes


class Replicas:
    """The replicas behind a gateway. They are shared with other gateways, which know nothing of this one.

    Args:
        urls: their addresses.
        metrics: what is to be counted.
    """

    def __init__(self, urls: Sequence[str], metrics: Metrics):
        self._metrics = metrics
        self._ring = Ring.of(urls)
        self._client = client()
        self.all = {url: Replica(url, self._client, metrics) for url in urls}
        self._watching: list[asyncio.Task[None]] = []

    @property
    def used(self) -> dict[str, Replica]:
        """Those that may be used now."""
        return {url: replica for url, replica in self.all.items() if replica.is_used}

    @property
    def window(self) -> int | None:
        """Positions that rows may have on each of those that are used; None if there are none."""
        return min((replica.window for replica in self.used.values() if replica.window is not None), default=None)

    async def start(self) -> None:
        """Look at each once, and from then on all the time."""
        await asyncio.gather(*(replica.probe() for replica in self.all.values()))
        self._watching = [asyncio.create_task(self._watch(replica)) for replica in self.all.values()]

    async def stop(self) -> None:
        """Look no more, and let go of all connections."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        await self._client.aclose()

    async def _watch(self, replica: Replica) -> None:
        while True:
            await asyncio.sleep(PERIOD)
            try:
                await replica.probe()
            except Exception:
                logger.exception("a look at %s failed", replica.url)
                replica.give_up("it could not be looked at")

    async def do(self, key: str, work: Callable[[Replica], Awaitable[T]]) -> T:
        """Have a replica do something; another one, where it cannot.

        Args:
            key: what is asked for together belongs to one replica, as long as it has room.
            work: is done again from its beginning, with each replica once.

        Raises:
            NotFinite: the logits of the one that does it are not finite.
            Refusal: none does it, or it can be done nowhere.
        """
        order, failure = self._ring.order(key), None
        while order:
            used = self.used
            url = chosen([each for each in order if each in used], {each: used[each].load for each in used})
            if url is None:
                break
            order.remove(url)
            try:
                done = await work(used[url])
            except (Lost, Declined) as error:
                failure = self._failed(used[url], error)
            else:
                self._metrics.replica_request(url, "answered")
                return done
        raise failure or NoReplica()

    def _failed(self, replica: Replica, error: Lost | Declined) -> Refusal:
        """What it means that a replica did not do something.

        Raises:
            NotFinite: its logits are not finite, nor would another's be.
            Refusal: no other one would.
        """
        if isinstance(error, Lost):
            self._metrics.replica_request(replica.url, "lost")
            replica.give_up(str(error))
            return ReplicaFailed()
        self._metrics.replica_request(replica.url, "declined")
        if error.is_overflow:
            raise NotFinite from error
        if error.is_about_request:
            raise not_taken(error.message)
        logger.error("%s declined a request: %s", replica.url, error)
        return Unavailable() if error.is_ours else ReplicaFailed()
