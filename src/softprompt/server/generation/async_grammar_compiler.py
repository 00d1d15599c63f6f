"""Compilation of the grammars of requests in a thread of its own; tenants take turns."""

from __future__ import annotations

from softprompt.sampling.grammar import CompiledGrammar, GuidanceCompiler
from softprompt.server.concurrency.fair_executor import FairExecutor
from softprompt.server.concurrency.python_time_budget import PythonTimeBudget
from softprompt.server.generation.generation_params import compile_grammar
from softprompt.server.schemas.generation_request import ResponseFormat, StructuredOutputs


class AsyncGrammarCompiler:
    """A compiler of grammars that runs in one thread.

    Args:
        compiler: compiles the grammars for one model.
        max_jobs: maximum jobs that wait, half of them of one tenant.
        time_budget: budget that the jobs are charged to; None for no budget.
    """

    def __init__(self, compiler: GuidanceCompiler, max_jobs: int = 256, time_budget: PythonTimeBudget | None = None):
        self._compiler = compiler
        self._executor = FairExecutor("grammars", max_jobs, time_budget)

    async def compile_grammar(
        self, tenant: str, constraint: ResponseFormat | StructuredOutputs
    ) -> CompiledGrammar | None:
        """Compile the grammar of a response format; None if the format allows every response.

        Raises:
            SettingError: the format is not supported, or too expensive to compile.
            QueueFull: too many jobs are waiting.
        """
        return await self._executor.run_in_thread(tenant, lambda: compile_grammar(constraint, self._compiler))

    def close(self) -> None:
        """Stop the thread and the process that checks grammars."""
        self._executor.close()
        self._compiler.close()
