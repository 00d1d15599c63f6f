"""Processes that train one prompt: each learns from its share of every step's rows, and all make the same update.

`accelerate launch` or `torchrun` starts them, on the devices of one machine or of several. Data parallelism as in Li et
al. 2020 (arXiv 2006.15704), of little: what is summed over the processes is a prompt's gradient. Where accelerate is
configured for FSDP (Zhao et al. 2023, arXiv 2304.11277), each keeps a part of every layer of the base.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from softprompt.errors import SettingError
from softprompt.model import FrozenModel, load_model
from softprompt.tasks import Objective, Row
from softprompt.training.checkpoint import Progress
from softprompt.training.learner import Learner, Learnt
from softprompt.training.optimisation import Optimiser
from softprompt.training.record import NoRecord, Record
from softprompt.training.settings import TuneSettings
from softprompt.training.watching import Unwatched, Watcher

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


class Alone:
    """One process trains by itself.

    Attributes:
        is_first: it is the one that writes and speaks.
    """

    is_first = True

    def wait(self) -> None:
        """There is nobody to wait for."""

    def load(self, settings: TuneSettings) -> FrozenModel:
        """The settings' model as this process runs it."""
        return load_model(settings.model, device=settings.device, dtype=settings.dtype)

    def learner(self, learner: Learner) -> Learner:
        """What learns from a step's rows."""
        return learner

    def record(self, record: Record) -> Record:
        """What is kept of the run."""
        return record

    def watcher(self, watcher: Watcher) -> Watcher:
        """Who is told of it."""
        return watcher


class Processes(Alone):
    """This process among several.

    Attributes:
        index: its number, from 0.
        count: how many there are.
        is_first: it is number 0, which alone writes and speaks.
    """

    def __init__(self) -> None:
        from accelerate import PartialState  # only for those who train in several processes

        self._state = PartialState(cpu=not torch.accelerator.is_available())  # left to itself it would not join on CPUs
        self.index, self.count = self._state.process_index, self._state.num_processes
        self.is_first = self._state.is_main_process

    def wait(self) -> None:
        """Until all are here."""
        self._state.wait_for_everyone()

    def total(self, values: Tensor) -> Tensor:
        """The sum of what all processes give."""
        there = values.to(self._state.device)
        torch.distributed.all_reduce(there)
        return there.to(values.device)

    def of_first(self, item: Item) -> Item:
        """What the first process gives."""
        from accelerate.utils import broadcast_object_list

        found: Item = broadcast_object_list([item])[0]
        return found

    def of_all(self, item: Item) -> list[Item]:
        """What each process gives, in their order."""
        from accelerate.utils import gather_object

        found: list[Item] = gather_object([item])
        return found

    def load(self, settings: TuneSettings) -> FrozenModel:
        """The settings' model; if FSDP is asked for, a part of each of its layers."""
        sharded = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
        if sharded:
            logger.info("each of %d processes keeps a part of every layer", self.count)
        return load_model(settings.model, device=settings.device, dtype=settings.dtype, sharded=sharded)

    def learner(self, learner: Learner) -> Learner:
        """One that learns from this process's share."""
        return SharedLearner(learner, self)

    def record(self, record: Record) -> Record:
        """One that the first process writes."""
        return SharedRecord(record, self)

    def watcher(self, watcher: Watcher) -> Watcher:
        """One that is told of the run by the first process."""
        return SharedWatcher(watcher, self)


def are_several() -> bool:
    """Whether this process was started as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def joined() -> Alone:
    """The processes that this one was started with; each gets a device of its own, so a model is loaded after this."""
    if not are_several():
        return Alone()
    processes = Processes()
    if not processes.is_first:  # it would say what the first one says
        logging.getLogger("softprompt").setLevel(logging.ERROR)
    return processes


def check_alone(what: str) -> None:
    """Refuse what one process does.

    Raises:
        SettingError: there are several.
    """
    if are_several():
        raise SettingError(f"{what} runs in one process: start it without accelerate launch or torchrun")


class SharedLearner:
    """Learns from every so-manieth row; gradients, losses and outputs are put together."""

    def __init__(self, learner: Learner, processes: Processes):
        self.learner, self.processes = learner, processes
        self.rates, self.state_dict, self.load_state_dict = learner.rates, learner.state_dict, learner.load_state_dict

    def accumulate(self, objective: Objective, rows: Sequence[Row], batch_size: int) -> Learnt:
        """See `Learner`: the mean is over the rows of all processes, and so is its gradient, in each of them.

        Raises:
            SettingError: the weights are spread over the processes, and there are rows for some of them only.
        """
        own = rows[self.processes.index :: self.processes.count]
        if objective.model.is_sharded and len(rows) % self.processes.count:
            raise SettingError(
                f"{len(rows)} rows a step for {self.processes.count} processes, which must run a sharded model equally "
                "often: choose a `batch_size` that they can share"
            )
        learnt = self.learner.accumulate(objective, own, batch_size) if own else Learnt(0.0, 0, 0.0)
        losses = [learnt.loss * learnt.weight, learnt.own_loss * learnt.weight]
        sums = torch.tensor([*losses, learnt.useful_tokens, learnt.weight], dtype=torch.float32)
        loss, own_loss, tokens, weight = self.processes.total(sums).tolist()
        self._sum_gradients(learnt.weight / weight)
        return Learnt(loss / weight, int(tokens), weight, own_loss / weight)

    def _sum_gradients(self, share: float) -> None:
        """Leave in each process the sum of all gradients, each times the share of its rows."""
        parameters = [parameter for group, _ in self.learner.rates() for parameter in group]
        found = torch.cat([_gradient(parameter).flatten() for parameter in parameters])
        total = self.processes.total(found * share)
        for parameter, part in zip(parameters, total.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)

    def outputs(self, objective: Objective, rows: Sequence[Row]) -> Float[Tensor, "N C"]:
        """See `Learner`. Each process runs equally many rows, the last of them twice if need be."""
        index, count = self.processes.index, self.processes.count
        own = [rows[min(i, len(rows) - 1)] for i in range(index, len(rows) + (-len(rows)) % count, count)]
        each = self.processes.of_all(self.learner.outputs(objective, own))
        in_order = [part[at] for at in range(len(own)) for part in each]
        return pad_sequence(in_order[: len(rows)], batch_first=True)


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


class SharedRecord:
    """The first process's record. What the others begin with, a run's start too, is what the first one has."""

    def __init__(self, record: Record, processes: Processes):
        self.processes = processes
        self.record = record if processes.is_first else NoRecord()
        self.keep, self.log_step = self.record.keep, self.record.log_step
        self.log_evaluation = self.record.log_evaluation

    def resume(self, learner: Learner, optimiser: Optimiser) -> Progress:
        """See `Record`."""
        progress = self.record.resume(learner, optimiser)
        mine = (progress, _on_cpu(learner.state_dict()), _on_cpu(optimiser.state()))
        progress, parameters, moments = self.processes.of_first(mine)
        if not self.processes.is_first:
            learner.load_state_dict(parameters)
            optimiser.restore(moments)
        return progress


def _on_cpu(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in tensors.items()}


class SharedWatcher:
    """The first process's watcher; a wish of any process to stop is one of all, at the same step."""

    def __init__(self, watcher: Watcher, processes: Processes):
        self.watcher, self.processes = watcher, processes
        told = watcher if processes.is_first else Unwatched()
        self.begin, self.stepped, self.evaluated = told.begin, told.stepped, told.evaluated

    def stop_requested(self) -> bool:
        """See `Watcher`."""
        return bool(self.processes.total(torch.tensor([float(self.watcher.stop_requested())])))
