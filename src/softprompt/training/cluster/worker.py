"""A worker of a cluster: trains its share of the runs on its own copy of the model. Knows nothing of Ray."""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from softprompt.errors import SettingError, SoftPromptError
from softprompt.training.loop import Training
from softprompt.training.many import Failed, begin_together, ready_together, train_ready
from softprompt.training.settings import TuneSettings
from softprompt.training.tuning import Ready
from softprompt.training.watching import Evaluated, Stepped

logger = logging.getLogger("softprompt")


@dataclass(frozen=True)
class Share:
    """The runs of one worker.

    Attributes:
        runs: the settings of each, by its name.
        resume: those that go on from their last checkpoint, where they have one.
        overwrite: replace prompts or runs that are there.
        folder: that paths are relative to.
        seen: files and folders that the worker must see, since whoever dealt the share does.
    """

    runs: Mapping[str, TuneSettings]
    resume: Set[str]
    overwrite: bool
    folder: Path
    seen: Sequence[Path]


class Said(NamedTuple):
    """What happened to a run: `begin`, `stepped` and `evaluated` of its watcher, or `ended`; or `log`, of no run."""

    run: str
    event: str
    arguments: tuple[Any, ...]


class Worker:
    """Makes its share ready, begins it, trains it. Meanwhile another thread may have an `exchange` with it."""

    def __init__(self, cores: int):
        torch.set_num_threads(cores)
        self._said: deque[Said] = deque()
        self._stopping: Set[str] = frozenset()
        self._ready: dict[str, Ready] = {}
        self._trainings: dict[str, Training] = {}
        logger.setLevel(logging.INFO)  # whoever is told decides what to show
        logger.addHandler(_Told(self.say))

    def is_there(self) -> bool:
        """It is."""
        return True

    def say(self, run: str, event: str, *arguments: Any) -> None:
        """Keep something to tell at the next exchange."""
        self._said.append(Said(run, event, arguments))

    def exchange(self, stopping: Set[str]) -> list[Said]:
        """Hear which runs are to stop; tell what happened since the last time."""
        self._stopping = stopping
        return [self._said.popleft() for _ in range(len(self._said))]

    def stops(self, run: str) -> bool:
        """Whether a run is to stop."""
        return run in self._stopping

    def prepare(self, share: Share) -> None:
        """Make the runs ready; nothing is written.

        Raises:
            SoftPromptError: one cannot begin, or this machine sees other files.
        """
        _check_sees(share.folder, share.seen)
        self._ready = ready_together(share.runs, resume=share.resume, overwrite=share.overwrite)

    def begin(self) -> None:
        """Begin the runs.

        Raises:
            SoftPromptError: one cannot; none was trained.
        """
        self._trainings = begin_together(self._ready, lambda run: _Reporter(self, run))

    def train(self) -> None:
        """Train the runs; each is saved and told of when it ends."""
        train_ready(self._ready, self._trainings, lambda run, each: self.say(run, "ended", each))

    def take_over(self, share: Share) -> None:
        """All of it, with the runs of a worker that was lost: the others go on, whether these can or not."""
        try:
            self.prepare(share)
            self.begin()
        except SoftPromptError as error:
            for run in share.runs:
                self.say(run, "ended", Failed(error))
            return
        self.train()


def _check_sees(folder: Path, paths: Sequence[Path]) -> None:
    """Go to the folder that paths are relative to, and look whether they are there."""
    if missing := [path for path in (folder, *(folder / path for path in paths)) if not path.exists()]:
        raise SettingError(
            f"{socket.gethostname()}, a machine of the cluster, does not see {missing[0]}: data, model and output must "
            "lie where every machine of it sees them, under the same path"
        )
    os.chdir(folder)


class _Reporter:
    """A watcher that tells of its run at the worker's next exchange."""

    def __init__(self, worker: Worker, run: str):
        self.worker, self.run = worker, run

    def begin(self, steps: int, done: int) -> None:
        """It begins, or goes on."""
        self.worker.say(self.run, "begin", steps, done)

    def stepped(self, event: Stepped) -> None:
        """An update was made."""
        self.worker.say(self.run, "stepped", event)

    def evaluated(self, event: Evaluated) -> None:
        """An evaluation was made."""
        self.worker.say(self.run, "evaluated", event)

    def stop_requested(self) -> bool:
        """Whether it is to stop."""
        return self.worker.stops(self.run)


class _Told(logging.Handler):
    """What softprompt notes on a worker is told like the rest: Ray would leave it in a file of that machine."""

    def __init__(self, say: Callable[..., None]):
        super().__init__()
        self.say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Tell of one note."""
        self.say("", "log", record.name, record.levelno, record.getMessage())
