"""Compile grammars, one on each line of standard input, in a process that ends at a limit of time or memory.

llguidance has no limit for compiling a grammar and cannot be interrupted. `grammar_checker.py` runs this file. It
imports nothing of softprompt, so that it starts quickly.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

MAX_ADDRESS_SPACE_BYTES = 2 * 2**30


def main() -> None:
    """Reply to each line `{"grammar": …, "max_lexer_states": …, "cpu_seconds": …}` with the problem as JSON."""
    limit_memory()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(find_problem(**json.loads(line))) + "\n")
        sys.stdout.flush()


def find_problem(grammar: str, max_lexer_states: int, cpu_seconds: float) -> str:
    """Return llguidance's error about a grammar, or ""; the process is killed after `cpu_seconds` of CPU time."""
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer

    limits = LLParserLimits(max_lexer_states=max_lexer_states, verbose_errors=False)
    set_cpu_timer(cpu_seconds)
    error: Any = LLMatcher(LLTokenizer("byte"), grammar, log_level=0, limits=limits).get_error()
    set_cpu_timer(0)
    return str(error or "")


def set_cpu_timer(seconds: float) -> None:
    """Kill this process after `seconds` of CPU time; 0 cancels the timer. Without effect on some systems."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def limit_memory() -> None:
    """Limit the address space of this process to `MAX_ADDRESS_SPACE_BYTES`, on systems that support limits."""
    try:
        import resource
    except ModuleNotFoundError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_SPACE_BYTES, MAX_ADDRESS_SPACE_BYTES))


if __name__ == "__main__":
    main()
