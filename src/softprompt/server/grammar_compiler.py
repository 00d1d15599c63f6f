"""Prepares the grammars of requests, in a thread of its own; tenants take turns."""

from __future__ import annotations

from softprompt.engine.grammar import Grammar, Grammars
from softprompt.server.asking import grammar_of
from softprompt.server.fair_thread import FairThread
from softprompt.server.protocol.sampling import ResponseFormat, StructuredOutputs


class GrammarCompiler:
    """Prepares grammars for one model, one after the other.

    Args:
        grammars: makes them.
        most_jobs: that may wait, half of them of one tenant.
    """

    def __init__(self, grammars: Grammars, most_jobs: int = 256):
        self._grammars = grammars
        self._thread = FairThread("grammars", most_jobs)

    async def compile(self, tenant: str, form: ResponseFormat | StructuredOutputs) -> Grammar | None:
        """The grammar of a form; None where any response has it.

        Raises:
            SettingError: it cannot be used, or takes too much to prepare.
            Busy: too many wait.
        """
        return await self._thread.do(tenant, lambda: grammar_of(form, self._grammars))

    def close(self) -> None:
        """End the thread, and what tries grammars."""
        self._thread.close()
        self._grammars.close()
