"""Many prompts tuned on a Ray cluster: dealt to workers, and dealt again where a worker is lost.

A worker trains all its runs together, on a copy of the model of its own. So they are dealt once, in shares of about
equal work, and not fetched one by one by whoever is free: alone, a run would have no others to share its passes with,
and the data would be read and the model be loaded for each.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from softprompt.errors import ClusterFailed, disk_errors
from softprompt.training.cluster.connecting import connected
from softprompt.training.cluster.dealing import Room, dealt
from softprompt.training.cluster.worker import Said, Share, Worker
from softprompt.training.many import Failed, check_together
from softprompt.training.settings import TuneSettings
from softprompt.training.tuning import Tuned
from softprompt.training.watching import Unwatched, Watcher

logger = logging.getLogger(__name__)

BETWEEN = 0.25  # seconds from one exchange with a worker to the next
THERE_WITHIN = 120  # seconds; whose place another job took meanwhile may not come before that job ends
MOST_LOSSES = 3  # that a share survives: one may be an accident, but by then it is the runs that end their workers


def run_on_cluster(
    runs: Mapping[str, TuneSettings],
    watcher: Callable[[str], Watcher] = lambda _: Unwatched(),
    *,
    resume: bool = False,
    overwrite: bool = False,
    address: str | None = None,
) -> dict[str, Tuned | Failed]:
    """Train prompts on a Ray cluster, and save each; by their names, what became of them.

    Each ends as `run_together` would have it, within rounding. None begins before all are ready. The runs of a worker
    that is lost go on from their last checkpoints on another one; after `MOST_LOSSES` more losses they have failed.

    Args:
        runs: the settings of each, by a name.
        watcher: of each run, by its name.
        resume: go on from each run's last checkpoint, where it has one, and begin those that never began.
        overwrite: replace prompts or runs that are there.
        address: the cluster's; otherwise that of `RAY_ADDRESS`, or one that runs on this machine, or a new one on it.

    Raises:
        SettingError: there is none, they do not share one model, two write to one folder, Ray is not installed, or a
            machine of the cluster does not see their files.
        ClusterFailed: the cluster cannot be reached, or no worker could be started.
        SoftPromptError: one cannot begin, with its name; none was trained.
    """
    check_together(runs)
    with ExitStack() as stack:
        ray = stack.enter_context(connected(address))
        outputs = {settings.output.parent.absolute() for settings in runs.values()}
        seen = [stack.enter_context(_mark(folder)) for folder in outputs]
        share = Share(runs, frozenset(runs if resume else ()), overwrite, Path.cwd(), [*seen, *_inputs(runs)])
        return _Dispatch(ray, share, {name: watcher(name) for name in runs}).run()


@contextmanager
def _mark(folder: Path) -> Iterator[Path]:
    """A file in a folder, by which a worker sees whether it has the same one; afterwards all is as it was."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        mark = NamedTemporaryFile(prefix=".seen-", dir=folder)  # noqa: SIM115
    try:
        with mark:
            yield Path(mark.name)
    finally:
        with suppress(OSError):  # something was saved there
            for each in made:
                each.rmdir()


def _inputs(runs: Mapping[str, TuneSettings]) -> list[Path]:
    """What the runs read from the disk; names of the Hub, and what is missing here too, are no part of it."""
    named = {name for each in runs.values() for name in (each.model, each.data, each.validation) if name}
    return [path for path in map(Path, sorted(named)) if path.exists()]


@dataclass
class _Post:
    """A worker at its share.

    Attributes:
        worker: Ray's handle of it.
        share: what it trains.
        losses: how many workers were lost at this share before.
        heard: the exchange with it that goes on, if one does.
    """

    worker: Any
    share: Share
    losses: int = 0
    heard: Any = None


class _Dispatch:
    """Deals the runs of `share` to workers, hears of them, and deals again what a lost worker leaves."""

    def __init__(self, ray: Any, share: Share, watchers: Mapping[str, Watcher]):
        self.ray, self.share, self.watchers = ray, share, watchers
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self.room = Room.of(machines, next(iter(share.runs.values())).device)
        self.workers: list[Any] = []
        self.begun: set[str] = set()
        self.found: dict[str, Tuned | Failed] = {}

    def run(self) -> dict[str, Tuned | Failed]:
        """Train them all; by their names, what became of them."""
        try:
            workers = self._assembled(min(self.room.workers, len(self.share.runs)))
            shares = [replace(self.share, runs=runs) for runs in dealt(self.share.runs, len(workers))]
            posts = [_Post(worker, share) for worker, share in zip(workers, shares, strict=True)]
            ready, unready = self._through({post.worker.prepare.remote(post.share): post for post in posts})
            begun, unbegun = self._through({post.worker.begin.remote(): post for post in ready})
            self._train(begun, unready + unbegun)
        finally:
            for worker in self.workers:
                self.ray.kill(worker)
        return {name: self.found[name] for name in self.share.runs}

    def _assembled(self, count: int) -> list[Any]:
        """As many workers, or those of them that the cluster really has room for."""
        coming = {(worker := self._hired()).is_there.remote(): worker for _ in range(count)}
        there, missing = self.ray.wait(list(coming), num_returns=count, timeout=THERE_WITHIN)
        if not there:
            logger.warning("the cluster has no room for a worker now: waiting for some")
            there, missing = self.ray.wait(missing, num_returns=1)
        for answer in missing:
            self.ray.kill(coming[answer])
        found, failures = [], []
        for answer in there:
            try:
                self.ray.get(answer)
                found.append(coming[answer])
            except self.ray.exceptions.RayError as error:
                failures.append(error)
        if not found:
            raise ClusterFailed(f"no worker could be started: {str(failures[0]).strip().splitlines()[-1]}")
        return found

    def _hired(self) -> Any:
        """A new worker, where there is room for it or as soon as there is some."""
        kind = self.ray.remote(
            num_cpus=self.room.cores,
            num_gpus=self.room.gpus,
            max_concurrency=2,  # an exchange, while it trains
            scheduling_strategy="SPREAD",
        )(Worker)
        self.workers.append(kind.remote(max(1, self.room.cores)))
        return self.workers[-1]

    def _through(self, calls: dict[Any, _Post]) -> tuple[list[_Post], list[_Post]]:
        """Those that did what they were called for, and those whose worker was lost over it."""
        ended = list(self._ended(calls))
        return [post for post, lost in ended if not lost], [post for post, lost in ended if lost]

    def _train(self, posts: Iterable[_Post], lost: Iterable[_Post]) -> None:
        calls = {post.worker.train.remote(): post for post in posts}
        for post in lost:
            self._deal_again(post, calls)
        for post, is_lost in self._ended(calls):
            if is_lost:
                self._deal_again(post, calls)
            else:
                self.ray.kill(post.worker)  # so there is room for one that takes over

    def _deal_again(self, lost: _Post, calls: dict[Any, _Post]) -> None:
        """Let another worker take over what is left of a share; or none any more."""
        self.ray.kill(lost.worker)  # should it only be out of reach: two must not write to one folder
        left = {name: settings for name, settings in lost.share.runs.items() if name not in self.found}
        losses = lost.losses + 1
        if not left:
            return
        if losses > MOST_LOSSES:
            error = ClusterFailed(
                f"lost {losses} workers: their machines ran out of memory or are gone, as Ray's logs say. What was "
                "checkpointed goes on with `resume=True`"
            )
            self.found |= dict.fromkeys(left, Failed(error))
            return
        logger.warning("lost a worker: another one goes on from the last checkpoints (unfinished runs: %d)", len(left))
        goes_on = left.keys() & (self.begun if self.share.overwrite else left.keys()) | self.share.resume
        post = _Post(self._hired(), replace(lost.share, runs=left, resume=goes_on), losses)
        calls[post.worker.take_over.remote(post.share)] = post

    def _ended(self, calls: dict[Any, _Post]) -> Iterator[tuple[_Post, bool]]:
        """Each post whose call has ended, and whether that was the loss of its worker; meanwhile all are heard.

        Raises:
            Exception: what a worker raised.
        """
        while calls:
            self._ask(calls.values())
            ended, _ = self.ray.wait(list(calls), timeout=BETWEEN)
            self._hear(calls.values())
            for call in ended:
                post = calls.pop(call)
                is_lost = self._is_lost(call)
                self._hear_out(post)
                yield post, is_lost

    def _is_lost(self, call: Any) -> bool:
        try:
            self.ray.get(call)
        except self.ray.exceptions.RayTaskError as error:  # around an error that the worker raised
            raise error.cause from error
        except self.ray.exceptions.RayActorError:
            return True
        return False

    def _ask(self, posts: Iterable[_Post]) -> None:
        """Begin an exchange with each that has answered the one before."""
        for post in posts:
            if post.heard is None:
                stopping = frozenset(name for name in post.share.runs if self.watchers[name].stop_requested())
                post.heard = post.worker.exchange.remote(stopping)

    def _hear(self, posts: Iterable[_Post]) -> None:
        """Pass on what those say that have answered."""
        asked = {post.heard: post for post in posts if post.heard is not None}
        answered, _ = self.ray.wait(list(asked), num_returns=len(asked), timeout=0) if asked else ([], [])
        for answer in answered:
            asked[answer].heard = None
            with suppress(self.ray.exceptions.RayActorError):  # its call ends with that too
                for said in self.ray.get(answer):
                    self._pass_on(said)

    def _hear_out(self, post: _Post) -> None:
        """Pass on what else a worker says whose call has ended."""
        with suppress(self.ray.exceptions.RayActorError):
            earlier = [] if post.heard is None else self.ray.get(post.heard)
            post.heard = None
            for said in [*earlier, *self.ray.get(post.worker.exchange.remote(frozenset()))]:
                self._pass_on(said)

    def _pass_on(self, said: Said) -> None:
        if said.event == "log":
            name, level, message = said.arguments
            logging.getLogger(name).log(level, "%s", message)
        elif said.event == "ended":
            self.found[said.run] = said.arguments[0]
        else:
            self.begun |= {said.run} if said.event == "begin" else set()
            getattr(self.watchers[said.run], said.event)(*said.arguments)
