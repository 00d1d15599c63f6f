"""A process that runs one way, so that one which runs out of memory takes no other with it.

    python -m softprompt.comparison.worker < job.json

It is told its job as JSON on standard input, and tells what happens as lines of JSON on standard output.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from contextlib import suppress
from io import TextIOBase
from pathlib import Path
from typing import Any

from softprompt.comparison.bench import Bench
from softprompt.comparison.cells import Cells
from softprompt.comparison.facts import data_of
from softprompt.comparison.failing import reason
from softprompt.comparison.running import WayRun
from softprompt.comparison.settings import CompareSettings
from softprompt.comparison.ways import way_named
from softprompt.errors import DataError, DiskFull
from softprompt.log_lines import LineFormatter
from softprompt.training import Evaluated, Stepped

OOM = Path("/proc/self/oom_score_adj")


class Teller:
    """A watcher that writes every event as a line."""

    def __init__(self, stream: TextIOBase):
        self.stream = stream

    def tell(self, event: str, **facts: Any) -> None:
        """One line."""
        self.stream.write(json.dumps({"event": event, **facts}) + "\n")
        self.stream.flush()

    def begin(self, steps: int, done: int) -> None:  # noqa: ARG002
        """A training begins."""
        self.tell("begin", steps=steps)

    def stepped(self, event: Stepped) -> None:
        """An update was made."""
        self.tell("step", step=event.step, loss=event.loss)

    def evaluated(self, event: Evaluated) -> None:
        """An evaluation was made."""
        self.tell("evaluated", step=event.step, metrics=dict(event.metrics))

    def stop_requested(self) -> bool:
        """Never: whoever waits for this process ends it."""
        return False

    def cell_began(self, cell: str) -> None:
        """A cell is run."""
        self.tell("cell_began", cell=cell)

    def cell_ended(self, cell: str) -> None:
        """A cell is finished."""
        self.tell("cell_ended", cell=cell)


def main() -> None:
    """Do the job that standard input describes."""
    teller = Teller(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)  # whatever a library prints is no event
    with suppress(OSError):
        OOM.write_text("900")  # if memory runs out, this process goes and not whoever waits for it
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("httpx2", "httpx", "openai"):  # a line for every request
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        work(json.load(sys.stdin), teller)
    except Exception as error:
        logging.getLogger("softprompt.comparison").exception("the way failed")
        teller.tell("failed", error=reason(error), disk_full=isinstance(error, DiskFull))


def work(job: dict[str, Any], teller: Teller) -> None:
    """Run a way.

    Raises:
        SoftPromptError: it cannot be had.
    """
    settings = CompareSettings.of(job["settings"])
    bench = Bench.of(settings)
    if data_of(bench) != job["data"]:
        raise DataError("the data has changed since the comparison began: run it again")
    cells = Cells(Path(job["folder"]), job["facts"])
    run = WayRun(bench, job["way"], way_named(job["way"]), job["steps"], cells, teller)
    if job["pilot"]:
        run.pilot()
    else:
        run.run()


if __name__ == "__main__":
    main()
