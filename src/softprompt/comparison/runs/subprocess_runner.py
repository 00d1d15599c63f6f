"""Runs a method in a subprocess and describes how the process ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from softprompt.comparison.runs.method_job import MethodJob
from softprompt.comparison.runs.run_events import FailureEvent, RunEvent, parse_event
from softprompt.errors import DiskFull, translate_os_errors
from softprompt.thread_wait_policy import get_wait_policy_env

EventHandler = Callable[[RunEvent], None]
"""A function that receives each event of a worker."""


def run_in_subprocess(job: MethodJob, log_path: Path, on_event: EventHandler) -> str | None:
    """Run a job in a worker process and return why it failed, or None.

    The process has always ended when this function returns or raises.

    Args:
        job: job of the worker.
        log_path: file for the output of the process.
        on_event: receives the events of the worker.

    Raises:
        DiskFull: the disk is full.
    """
    failure: FailureEvent | None = None
    with (
        translate_os_errors(log_path),
        log_path.open("w", encoding="utf-8") as errors,
        _start_worker(errors) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(job.model_dump_json())
            process.stdin.close()
            for line in process.stdout:
                event = parse_event(line)
                if isinstance(event, FailureEvent):
                    failure = event
                on_event(event)
        except (BrokenPipeError, json.JSONDecodeError):
            pass  # the process ended before it read its job or inside a line; the exit code tells why
        except BaseException:
            process.kill()
            process.wait()  # Popen itself waits only briefly after Ctrl-C
            raise
        code = process.wait()
    if failure is not None and failure.is_disk_full:
        raise DiskFull(failure.error)  # every other method would fail too
    if failure is not None:
        return failure.error
    return None if code == 0 else _describe_exit(code, log_path)


def _start_worker(stderr: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "softprompt.comparison.runs.method_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        encoding="utf-8",
        env=build_worker_environment(),
        start_new_session=True,  # Ctrl-C reaches only the parent process, which ends the worker
    )


def build_worker_environment() -> dict[str, str]:
    """Return the environment of a worker: the module path for custom methods, and the threads' wait policy."""
    return {**os.environ, **get_wait_policy_env(os.environ), "PYTHONPATH": os.pathsep.join(sys.path)}


def _describe_exit(exit_code: int, log_path: Path) -> str:
    if exit_code == -signal.SIGKILL:
        return "ran out of memory: the system ended it (SIGKILL)"
    lines = log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"ended with code {exit_code}: {lines[-1] if lines else 'no output'}"
