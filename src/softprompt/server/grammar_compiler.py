"""Prepares the grammars of requests, in a thread of its own; tenants take turns."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from softprompt.engine.grammar import Grammar, Grammars
from softprompt.server.asking import grammar_of
from softprompt.server.failures import Busy
from softprompt.server.job import Job
from softprompt.server.protocol.sampling import ResponseFormat, StructuredOutputs
from softprompt.server.turns import Turns


class GrammarCompiler:
    """Prepares grammars for one model, one after the other.

    Args:
        grammars: makes them.
        most_jobs: that may wait, half of them of one tenant.
    """

    def __init__(self, grammars: Grammars, most_jobs: int = 256):
        self._grammars = grammars
        self._thread = ThreadPoolExecutor(1, "grammars")
        self._jobs, self._lock = Turns[Job](most_jobs), threading.Lock()

    async def compile(self, tenant: str, form: ResponseFormat | StructuredOutputs) -> Grammar | None:
        """The grammar of a form; None where any response has it.

        Raises:
            SettingError: it cannot be used, or takes too much to prepare.
            Busy: too many wait.
        """
        job = Job(lambda: grammar_of(form, self._grammars))
        with self._lock:
            if not self._jobs.add(tenant, job):
                raise Busy
        self._thread.submit(self._run_next)
        grammar: Grammar | None = await asyncio.wrap_future(job.future)
        return grammar

    def close(self) -> None:
        """End the thread, and what tries grammars."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._grammars.close()

    def _run_next(self) -> None:
        with self._lock:
            job = self._jobs.take()
        job.run()
