"""Tries grammars, one a line of standard input, in a process that ends when one takes too much time or memory.

What llguidance does with a grammar when it is prepared is bounded by no limit of its own, and cannot be interrupted.
`grammar_checker.py` runs this file. It knows nothing of softprompt, so that it starts at once.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

MEMORY = 2 * 2**30  # bytes of addresses


def main() -> None:
    """Answer each line `{"grammar": …, "most_states": …, "seconds": …}` with what is wrong, as JSON, or with ""."""
    limit_memory()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(find_problem(**json.loads(line))) + "\n")
        sys.stdout.flush()


def find_problem(grammar: str, most_states: int, seconds: float) -> str:
    """What is wrong with a grammar, as llguidance says it; the process ends after so many seconds of its time."""
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer

    limits = LLParserLimits(max_lexer_states=most_states, verbose_errors=False)
    set_timer(seconds)
    error: Any = LLMatcher(LLTokenizer("byte"), grammar, log_level=0, limits=limits).get_error()
    set_timer(0)
    return str(error or "")


def set_timer(seconds: float) -> None:
    """End this process after so many seconds of its own time; 0 for never. Not every system can."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def limit_memory() -> None:
    """Let this process have no more than `MEMORY`, where the system can do that."""
    try:
        import resource
    except ModuleNotFoundError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


if __name__ == "__main__":
    main()
