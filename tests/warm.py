"""Processes forked from a server with imported libraries: a new interpreter would take seconds to import them.

The server has one thread and has imported the modules in `PRELOADED`, nothing else.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from types import TracebackType
from typing import Any, Self, TextIO

PRELOADED = [
    *("accelerate", "datasets", "matplotlib.pyplot", "peft", "psycopg", "pytest", "s3fs", "sqlalchemy"),
    *(
        "softprompt.cli.main",
        "softprompt.comparison.runs.method_runner",
        "softprompt.comparison.methods.weight_method",
        "softprompt.registry",
    ),
    *("softprompt.training.tune_pipeline", "tests.tiny", "tests.strategies"),
]


def forked(job: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a process that runs a job with the environment of this process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_alike, args=(dict(os.environ), job, arguments))
    process.start()
    return process


def exit_code(job: Callable[..., None], *arguments: Any) -> int | None:
    """Run a job in a new process and return its exit code."""
    process = forked(job, *arguments)
    process.join()
    return process.exitcode


def _alike(environment: dict[str, str], job: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    import torch

    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)  # as in the test process: the order of sums depends on the number
    job(*arguments)


class Module:
    """Process like `python -m name` with pipes for standard input and output, as from `subprocess.Popen`."""

    def __init__(self, name: str, errors: TextIO):
        (given, writing), (reading, said) = os.pipe(), os.pipe()
        self.stdin, self.stdout = os.fdopen(writing, "w", encoding="utf-8"), os.fdopen(reading, encoding="utf-8")
        self.process = forked(_run, name, sys.path, [DupFd(each) for each in (given, said, errors.fileno())])
        os.close(given)
        os.close(said)

    def kill(self) -> None:
        self.process.kill()

    def wait(self) -> int | None:
        self.process.join()
        return self.process.exitcode

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stdin.close()
        self.stdout.close()
        self.wait()


def _run(name: str, path: list[str], streams: list[Any]) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the fork server ignores SIGINT
    for number, stream in enumerate(streams):
        os.dup2(stream.detach(), number)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1, closefd=False)
    sys.path[:] = path
    runpy.run_module(name, run_name="__main__", alter_sys=True)
