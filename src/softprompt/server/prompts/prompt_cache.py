"""In-memory LRU cache of loaded prompts, backed by the registry. Concurrent requests for a prompt share one load.

A name is resolved to a version once per request. Versions never change, so a request finishes on the version that it
started with. The cache key is the digest of the prompt, so tenants with equal prompts share an entry.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from operator import attrgetter

from cachetools import LRUCache

from softprompt.errors import PromptNotFound, SavedPromptError, SettingError
from softprompt.model import FrozenModel
from softprompt.registry import PromptRegistry, PromptVersion
from softprompt.server.backends.inference_backend import InferenceBackend
from softprompt.server.backends.loaded_prompt import LoadedPrompt
from softprompt.server.concurrency.fair_semaphore import FairSemaphore
from softprompt.server.request_errors import IncompatiblePrompt, UnknownModel, UnusablePrompt
from softprompt.server.server_metrics import ServerMetrics

logger = logging.getLogger(__name__)

MAX_CONCURRENT_LOADS = 4  # concurrent loads
MAX_QUEUED_LOADS = 4096  # waiting loads
MAX_TRACKED_NAMES = 10_000  # names whose last version is remembered, to count version changes


@contextmanager
def report_unusable_prompt(version: PromptVersion) -> Iterator[None]:
    """Report errors of a version's files to the client without the cause, which names files and is only in the log.

    Raises:
        UnusablePrompt: the files are missing, corrupt or too new.
    """
    try:
        yield
    except SavedPromptError as error:
        logger.error("%s cannot be served: %s", version, error)
        raise UnusablePrompt(str(version)) from error


class PromptCache:
    """An LRU cache of loaded prompts.

    Args:
        registry: registry of the prompts.
        model: base model of the server.
        backend: backend that loads the prompts.
        max_bytes: maximum bytes of all cached prompts.
        metrics: metrics of the server.
    """

    def __init__(
        self,
        registry: PromptRegistry,
        model: FrozenModel,
        backend: InferenceBackend,
        max_bytes: int,
        metrics: ServerMetrics,
    ):
        self._registry, self._model, self._backend, self._metrics = registry, model, backend, metrics
        self._prompts: LRUCache[str, LoadedPrompt] = LRUCache(max_bytes, getsizeof=attrgetter("num_bytes"))
        self._load_tasks: dict[str, asyncio.Task[LoadedPrompt]] = {}
        self._load_semaphore = FairSemaphore(MAX_CONCURRENT_LOADS, MAX_QUEUED_LOADS, num_reserved=1)
        self._last_versions: LRUCache[tuple[str, str], int] = LRUCache(MAX_TRACKED_NAMES)

    @property
    def num_prompts(self) -> int:
        """Number of cached prompts."""
        return len(self._prompts)

    @property
    def num_bytes(self) -> int:
        """Bytes of all cached prompts."""
        return int(self._prompts.currsize)

    async def resolve_version(self, reference: str, tenant: str) -> PromptVersion:
        """Resolve a reference of a tenant to a version.

        Raises:
            UnknownModel: the tenant has no such prompt.
        """
        try:
            version = await asyncio.to_thread(self._registry.resolve_version, reference, tenant=tenant)
        except (PromptNotFound, SettingError) as error:
            raise UnknownModel(reference) from error
        self._count_swap((tenant, reference), version.number)
        return version

    async def get_prompt(self, version: PromptVersion) -> LoadedPrompt:
        """Return the loaded prompt of a version, from the cache or the registry.

        Raises:
            IncompatiblePrompt: the prompt is for another base model.
            UnusablePrompt: the prompt's files are missing or corrupt.
            TaskError: the base model does not support the task.
            QueueFull: too many prompts are waiting to be loaded.
        """
        if not self._model.matches_fingerprint(version.fingerprint):
            raise IncompatiblePrompt(
                f"`{version}` was trained on the base model {version.base_model} ({version.fingerprint}), "
                f"but this server runs another one ({self._model.fingerprint})."
            )
        if (loaded_prompt := self._prompts.get(version.digest)) is not None:
            self._metrics.count_cache_hit()
            return loaded_prompt
        self._metrics.count_cache_miss()
        with report_unusable_prompt(version):
            return await asyncio.shield(self._get_load_task(version))  # other requests may await the same load

    def _get_load_task(self, version: PromptVersion) -> asyncio.Task[LoadedPrompt]:
        task = self._load_tasks.get(version.digest)
        if task is None:
            task = self._load_tasks[version.digest] = asyncio.create_task(self._load_prompt(version))
            task.add_done_callback(lambda done: self._on_load_done(version.digest, done))
        return task

    def _on_load_done(self, digest: str, task: asyncio.Task[LoadedPrompt]) -> None:
        del self._load_tasks[digest]
        if not task.cancelled():
            task.exception()  # retrieve the exception, or asyncio logs it when no request awaits the task

    async def _load_prompt(self, version: PromptVersion) -> LoadedPrompt:
        async with self._load_semaphore.acquire_slots(version.tenant):
            prompt = await asyncio.to_thread(self._registry.load_prompt, version)
            loaded_prompt = await self._backend.load_prompt(prompt, version.tenant)
        with suppress(ValueError):  # a prompt that is larger than the whole cache is not kept
            self._prompts[version.digest] = loaded_prompt
        self._metrics.set_prompt_cache(self.num_prompts, self.num_bytes)
        return loaded_prompt

    def _count_swap(self, name: tuple[str, str], version_number: int) -> None:
        """Count a name that resolves to another version than in the previous request."""
        if self._last_versions.get(name, version_number) != version_number:
            self._metrics.count_prompt_swap()
        self._last_versions[name] = version_number
