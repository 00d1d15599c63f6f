"""A way run in a process of its own, and what is made of its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from softprompt.errors import DiskFull, disk_errors
from softprompt.wait_policy import wait_policy

Event = Callable[[Mapping[str, Any]], None]
"""Is told what a worker tells."""


def run_apart(job: Mapping[str, Any], log: Path, heard: Event) -> str | None:
    """Run a worker's job to its end; why it failed, or None. What it printed is in `log`.

    However this ends, the process has ended too.

    Raises:
        DiskFull: nothing can be kept any more.
    """
    failures: list[Mapping[str, Any]] = []
    with disk_errors(log), log.open("w", encoding="utf-8") as errors, _worker(errors) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(job))
            process.stdin.close()
            for line in process.stdout:
                event = json.loads(line)
                failures += [event] if event["event"] == "failed" else []
                heard(event)
        except (BrokenPipeError, json.JSONDecodeError):
            pass  # it ended before it had read its job, or in the middle of a line; how is told below
        except BaseException:
            process.kill()
            raise
        code = process.wait()
    if any(failure["disk_full"] for failure in failures):
        raise DiskFull(failures[0]["error"])  # no other way would fare better
    if failures:
        return str(failures[0]["error"])
    return None if code == 0 else _ended(code, log)


def _worker(errors: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "softprompt.comparison.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        encoding="utf-8",
        env=worker_environment(),
        start_new_session=True,  # Ctrl-C is for whoever waits, and ends this one in its own way
    )


def worker_environment() -> dict[str, str]:
    """What a worker is told: where somebody's own ways are, and how its threads wait."""
    return {**os.environ, **wait_policy(os.environ), "PYTHONPATH": os.pathsep.join(sys.path)}


def _ended(code: int, log: Path) -> str:
    if code == -signal.SIGKILL:
        return "ran out of memory: the system ended it (SIGKILL)"
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"ended with code {code}: {said[-1] if said else 'without a word'}"
