"""The backend in other processes: vLLM servers with softprompt's plugin, and no weights here."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import final
from urllib.parse import urlsplit

from softprompt.engine import Request
from softprompt.errors import SettingError
from softprompt.model import FrozenModel, Payload, Placement, Prefix
from softprompt.saved import SavedPrompt
from softprompt.server.admission import Admission
from softprompt.server.backend import Hear, Opening, Row
from softprompt.server.binder import Binder
from softprompt.server.desk import apart
from softprompt.server.failures import Busy, Draining, TooSlow
from softprompt.server.fair_limit import FairLimit
from softprompt.server.gateway import bodies
from softprompt.server.gateway.labels import MOST, Labels
from softprompt.server.gateway.refusals import NoReplica, like_a_prompt, not_compiled, trained_head
from softprompt.server.gateway.replica import Replica
from softprompt.server.gateway.replica_options import spare_rows
from softprompt.server.gateway.replicas import Replicas
from softprompt.server.gateway.response import Response
from softprompt.server.gateway.told import NotFinite, next_tokens
from softprompt.server.metrics import Metrics
from softprompt.server.refusal import Refusal
from softprompt.server.settings import ServerSettings
from softprompt.server.shelved import Shelved
from softprompt.tasks import Row as Text
from softprompt.tasks.classification import ClassificationObjective
from softprompt.tasks.objective import arranged
from softprompt.tasks.verbalizer import Verbalizer

ANY = 2**31  # that may wait for a turn: how many are taken on is decided before


def checked_urls(urls: Sequence[str]) -> list[str]:
    """Addresses of replicas, each once.

    Raises:
        SettingError: there are none, or one is no address of a server.
    """
    if not urls:
        raise SettingError("there is no replica: name one with `replica`, as http://HOST:PORT")
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise SettingError(f"`replica={url!r}`: write it as http://HOST:PORT")
    return list(dict.fromkeys(url.rstrip("/").removesuffix("/v1") for url in urls))


def is_compiled(payload: Payload) -> bool:
    """Whether it is all that stands in front of a row, so that nothing has to be run for it."""
    return isinstance(payload, Prefix) and (payload.has_bos or payload.placement is not Placement.AFTER_BOS)


@final
class Remote:
    """See `Backend`.

    Args:
        settings: the server's.
        model: the replicas', without its weights.
        metrics: what is to be counted.
        urls: of the replicas.
        lives: whether those of its own do, for whom nobody else looks.

    Raises:
        SettingError: there are no replicas, or one is no address.
    """

    def __init__(
        self,
        settings: ServerSettings,
        model: FrozenModel,
        metrics: Metrics,
        urls: Sequence[str],
        lives: Callable[[], bool] = lambda: True,
    ):
        self.replicas = Replicas(checked_urls(urls), metrics)
        self._settings, self._metrics, self._lives = settings, metrics, lives
        self._model = apart(model)  # whose tokenizer only the event loop uses
        self._binder = Binder(model)
        self._is_draining = False
        self._responses: set[Response] = set()
        self._admission = Admission(settings.waiting)
        self._turns = FairLimit(self._most_rows, ANY, self._spare_rows)

    @classmethod
    def at(cls, urls: Sequence[str], lives: Callable[[], bool] = lambda: True) -> Opening:
        """Makes the backend of replicas at these addresses."""
        return lambda settings, model, metrics: cls(settings, model, metrics, urls, lives)

    @property
    def length(self) -> int:
        """Positions that a row may have. To vLLM the last token takes one, which to the engine it does not."""
        length, window = min(self._settings.length, self._model.shape.window), self.replicas.window
        return length if window is None else min(length, window - 1)

    @property
    def is_alive(self) -> bool:
        """What it has started itself lives."""
        return self._lives()

    @property
    def closed(self) -> Refusal | None:
        """Why it takes no requests now; None if it does."""
        if self._is_draining:
            return Draining()
        return None if self.replicas.used else NoReplica()

    async def start(self) -> None:
        """Look for the replicas."""
        await self.replicas.start()

    def drain(self) -> None:
        """Take nothing new from now on."""
        self._is_draining = True

    async def stop(self) -> None:
        """End what still runs, and let go of the replicas."""
        self._is_draining = True
        for response in list(self._responses):
            response.end(Draining())
        await self.replicas.stop()
        self._binder.close()

    def check(self, prompt: SavedPrompt) -> None:
        """Refuse a prompt that vLLM cannot serve.

        Raises:
            Refusal: it is no compiled prefix, or has a head.
        """
        if not is_compiled(prompt.payload):
            raise not_compiled()
        if prompt.head is not None:
            raise trained_head()

    async def verify(self, prompt: SavedPrompt, name: str, tenant: str) -> None:
        """There are no weights here to try it on: a response that overflows ends with an error when it does."""

    async def bind(self, prompt: SavedPrompt, tenant: str) -> Shelved:
        """Make a prompt ready: its words, and the shape of its prefix. The replicas read its numbers themselves."""
        self.check(prompt)
        objective = await self._binder.bind_task(prompt, tenant)
        return Shelved.from_parts(prompt, prompt.bound(self._model), objective)

    async def begin(self, request: Request, payload: Payload | None, hear: Hear) -> Row:
        """Let a replica answer a request.

        Raises:
            SettingError: it is longer than a row may be.
            Busy: the replicas have as much to do as they may.
            NoReplica: there are none.
            Draining: it takes nothing new.
            Refusal: the replicas' guards would take it for one whose prompt was forgotten.
        """
        if (refusal := self.closed) is not None:
            raise refusal
        positions = 0 if payload is None else payload.num_positions
        room = positions + len(request.ids) + request.sampling.max_new_tokens - 1
        if room > self.length:
            raise SettingError(f"a row of {room} positions is longer than the {self.length} that one may have")
        if not positions and request.ids[:2] == (bodies.HOLDER,) * 2:
            raise like_a_prompt()
        self._allowance(request.tenant)
        response = Response(
            request, positions, self.replicas, self._turns, self._decoded, self._model.eos_token_ids, hear
        )
        self._responses.add(response)
        self._metrics.load(len(self._responses), 0)
        self._admission.add(request.tenant)
        response.when_over(self._over)
        return response

    async def label(self, shelved: Shelved, texts: Sequence[Text], tenant: str) -> list[list[float]]:
        """Ask the replicas how probable the tokens are by which the labels part.

        Raises:
            Busy: the replicas have as much to do as they may.
            TooSlow: it took too long.
            Refusal: no replica answers.
        """
        objective, content = shelved.objective, bodies.digits(shelved.content)
        assert isinstance(objective, ClassificationObjective)
        assert isinstance(objective.reader, Verbalizer)  # `bind` saw to it
        share = self._share(tenant, len(texts) * len(objective.reader.branchings))

        async def ask(body: bodies.Body, rows: int) -> list[dict[int, float]]:
            async def asked(replica: Replica) -> list[dict[int, float]]:
                return next_tokens(await replica.asked(body, rows), rows)

            async with self._turns.holding(tenant, rows):
                return await self.replicas.do(bodies.key(tenant, content), asked)

        labels = Labels(objective.reader, shelved.payload.num_positions, tenant, content, ask, share)
        rows = [arranged(text, shelved.payload)[0] for text in texts]
        try:
            with self._admission.holding(tenant, share):
                async with asyncio.timeout(self._settings.deadline):
                    return (await labels.of(rows)).tolist()
        except NotFinite:
            return [[math.nan] * len(shelved.task.labels)] * len(texts)
        except TimeoutError:
            raise TooSlow(self._settings.deadline) from None

    def _most_rows(self) -> int:
        """How many the replicas run at a time, of all tenants'. The others wait here, where tenants take turns."""
        return self._settings.slots * max(1, len(self.replicas.used)) + self._spare_rows()

    def _spare_rows(self) -> int:
        return spare_rows(self._settings.slots) * max(1, len(self.replicas.used))

    def _allowance(self, tenant: str, most: int = 1) -> int:
        """How many more texts the replicas may be given for a tenant now, up to so many.

        Raises:
            Busy: none.
        """
        running = self._settings.slots * len(self.replicas.used)
        if not (allowance := self._admission.allowance(tenant, running, most)):
            raise Busy
        return allowance

    def _share(self, tenant: str, wanted: int) -> int:
        """How many texts of a classification replicas may have at a time: half of what the tenant may have at most.

        The other half is for what the tenant asks meanwhile: a classification may take long.

        Raises:
            Busy: it may have none.
        """
        most = max(1, min(MOST, wanted))
        return min(most, max(1, self._allowance(tenant, 2 * most) // 2))

    def _over(self, response: Response) -> None:
        self._responses.discard(response)
        self._metrics.load(len(self._responses), 0)  # which of them wait, the replicas know
        self._admission.remove(response.tenant)

    def _decoded(self, tokens: list[int]) -> str:
        return str(self._model.tokenizer.decode(tokens, skip_special_tokens=True))
