"""Check of grammars in a separate process, before they are compiled in this one. Imports no torch."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

CHECK_SCRIPT = Path(__file__).with_name("grammar_check_script.py")
MAX_CPU_SECONDS = 1.0  # CPU time that a grammar may take
REPLY_TIMEOUT_S = 30.0  # wall-clock limit, for a process that gets no CPU time


class GrammarChecker:
    """Checker that compiles grammars within limits in a process of its own, which starts with the first grammar.

    Args:
        cpu_seconds: CPU time that a grammar may take.
    """

    def __init__(self, cpu_seconds: float = MAX_CPU_SECONDS):
        self._cpu_seconds, self._lock = cpu_seconds, threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def find_problem(self, grammar: str, max_lexer_states: int) -> str:
        """Return a description of the problem of an llguidance grammar; "" for a usable grammar."""
        request = json.dumps(
            {"grammar": grammar, "max_lexer_states": max_lexer_states, "cpu_seconds": self._cpu_seconds}
        )
        with self._lock:
            reply = self._exchange_line(request)
            if reply is not None:
                return str(json.loads(reply))
            self._stop_process()
        return f"it takes more than {self._cpu_seconds:g} s to compile, or too much memory: use a simpler one"

    def close(self) -> None:
        """Stop the process."""
        with self._lock:
            self._stop_process()

    def _exchange_line(self, line: str) -> str | None:
        """Send a line and return the reply; None if the process ended instead."""
        if self._process is None or self._process.poll() is not None:
            self._process = self._start_process()
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(REPLY_TIMEOUT_S, process.kill)
        timer.start()
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            return process.stdout.readline() or None
        except BrokenPipeError:
            return None
        finally:
            timer.cancel()

    def _start_process(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-P", str(CHECK_SCRIPT)],  # -P: the script's folder has modules with common names
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C must reach only the server, which finishes its requests
        )

    def _stop_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with process:  # closes the pipes and waits for the process
                pass
