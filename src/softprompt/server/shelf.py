"""Where prompts are that are asked for: on the disk, in RAM ready to be used, and live in the rows behind them.

A name means a version at the moment that it is asked for. From then on only the version counts, which never changes, so
a request ends on what it began with. What is kept is kept under the hash of its content, not under anybody's name.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from softprompt.errors import SettingError, SoftPromptError, UnknownPrompt
from softprompt.model import FrozenModel
from softprompt.server.backend import Backend
from softprompt.server.failures import failure_of, unknown_model
from softprompt.server.fair_limit import FairLimit
from softprompt.server.metrics import Metrics
from softprompt.server.refusal import Refusal
from softprompt.server.shelved import Shelved
from softprompt.store import Store, Version

AT_ONCE = 4  # prompts that are read from the disk at the same time
WAITING = 4096  # prompts that wait for it
WATCHED = 10_000  # names whose version is remembered, to count swaps


class Shelf:
    """Prompts in RAM, those that were used last; others are fetched from the store, each once however many wait.

    Args:
        store: where they are.
        model: the model that they are bound to.
        backend: makes prompts ready.
        memory: bytes that they may take together.
        metrics: what is to be counted.

    Attributes:
        size: bytes that the prompts in RAM take.
    """

    def __init__(self, store: Store, model: FrozenModel, backend: Backend, memory: int, metrics: Metrics):
        self._store, self._model, self._backend, self._memory = store, model, backend, memory
        self._metrics, self.size = metrics, 0
        self._kept: OrderedDict[str, Shelved] = OrderedDict()
        self._fetched: dict[str, asyncio.Task[Shelved]] = {}
        self._turns = FairLimit(AT_ONCE, WAITING, reserve=1)
        self._meant: OrderedDict[tuple[str, str], int] = OrderedDict()

    @property
    def count(self) -> int:
        """Prompts in RAM."""
        return len(self._kept)

    async def resolve(self, reference: str, tenant: str) -> Version:
        """The version that a tenant means now.

        Raises:
            Refusal: it has none that is meant.
        """
        try:
            version = await asyncio.to_thread(self._store.resolve, reference, tenant=tenant)
        except (UnknownPrompt, SettingError) as error:
            raise unknown_model(reference) from error
        self._watch((tenant, reference), version.number)
        return version

    async def get(self, version: Version) -> Shelved:
        """A version, ready to be used.

        Raises:
            Refusal: it is for another base model, or damaged on the disk.
            Busy: too many prompts wait to be made ready.
        """
        if not self._model.may_be(version.fingerprint):
            raise Refusal(
                400,
                f"`{version}` was made for the base model {version.base} ({version.fingerprint}), "
                f"and this server runs another ({self._model.fingerprint}).",
                param="model",
                code="wrong_base_model",
            )
        if (kept := self._kept.get(version.content)) is not None:
            self._kept.move_to_end(version.content)
            self._metrics.hit()
            return kept
        self._metrics.missed()
        try:
            return await asyncio.shield(self._fetching(version))  # others may wait for it when this one goes away
        except SoftPromptError as error:
            raise failure_of(error, str(version)) from error

    def _fetching(self, version: Version) -> asyncio.Task[Shelved]:
        task = self._fetched.get(version.content)
        if task is None:
            task = self._fetched[version.content] = asyncio.create_task(self._fetch(version))
            task.add_done_callback(lambda done: self._done(version.content, done))
        return task

    def _done(self, content: str, task: asyncio.Task[Shelved]) -> None:
        del self._fetched[content]
        if not task.cancelled():
            task.exception()  # is looked at, though nobody may wait for it any more: else asyncio complains

    async def _fetch(self, version: Version) -> Shelved:
        async with self._turns.holding(version.tenant):
            prompt = await asyncio.to_thread(self._store.read, version)
            shelved = await self._backend.bind(prompt, version.tenant)
        self._kept[version.content] = shelved
        self.size += shelved.size
        while self.size > self._memory:
            self.size -= self._kept.popitem(last=False)[1].size
        self._metrics.shelf(self.count, self.size)
        return shelved

    def _watch(self, name: tuple[str, str], number: int) -> None:
        """Count a name that means another version than when it was last asked for."""
        before = self._meant.pop(name, number)
        self._meant[name] = number
        if before != number:
            self._metrics.swapped()
        if len(self._meant) > WATCHED:
            self._meant.popitem(last=False)
