"""Has grammars tried in a process of its own before they are prepared in this one. Knows no torch."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

TRIAL = Path(__file__).with_name("grammar_trial.py")
SECONDS = 1.0  # of the process's time that a grammar may take
PATIENCE = 30.0  # seconds until it has to have answered, however much else runs


class GrammarChecker:
    """Says whether grammars can be prepared within a limit. The process begins with the first of them.

    Args:
        seconds: of its time that a grammar may take.
    """

    def __init__(self, seconds: float = SECONDS):
        self._seconds, self._lock = seconds, threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def find_problem(self, grammar: str, most_states: int) -> str:
        """What is wrong with a grammar of llguidance's; "" if nothing is."""
        asked = json.dumps({"grammar": grammar, "most_states": most_states, "seconds": self._seconds})
        with self._lock:
            told = self._ask(asked)
            if told is not None:
                return str(json.loads(told))
            self._end()
        return f"it takes more than {self._seconds:g} s to prepare, or too much memory: ask for a simpler one"

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _ask(self, line: str) -> str | None:
        """A line that answers a line; None if the process ended instead."""
        if self._process is None or self._process.poll() is not None:
            self._process = self._start()
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(PATIENCE, process.kill)
        timer.start()
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            return process.stdout.readline() or None
        except BrokenPipeError:
            return None
        finally:
            timer.cancel()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-P", str(TRIAL)],  # -P: the folder beside it has modules of common names
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for the server, which lets what runs end
        )

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with process:  # its pipes are closed, and it is waited for
                pass
