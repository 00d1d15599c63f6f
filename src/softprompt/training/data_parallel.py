"""Data-parallel training of one prompt: each process has a share of every batch, and all apply the same update.

`accelerate launch` or `torchrun` starts the processes, on the devices of one machine or several. This is data
parallelism as in Li et al. 2020 (arXiv 2006.15704), with little communication: only a prompt's gradient is summed. If
accelerate is configured for FSDP (Zhao et al. 2023, arXiv 2304.11277), each process keeps a shard of every layer of the
base model.
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
from softprompt.tasks import EncodedExample, Objective
from softprompt.training.callbacks import EvalEvent, NullCallback, StepEvent, TrainerCallback
from softprompt.training.checkpoint import TrainerState
from softprompt.training.optimizer import ScheduledOptimizer
from softprompt.training.process_group import ProcessGroup, SingleProcess, is_distributed
from softprompt.training.recorder import NullRecorder, RunRecorder
from softprompt.training.run_settings import RunSettings
from softprompt.training.trainable import BatchLoss, Trainable

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


class DistributedGroup(ProcessGroup):
    """Group of several processes, which exchange tensors and objects.

    Attributes:
        rank: Index of this process, from 0.
        world_size: Number of processes.
        is_main_process: Whether this process is rank 0, which alone writes files and logs.
    """

    def __init__(self) -> None:
        from accelerate import PartialState  # imported for several processes only

        # Without `cpu`, accelerate would not join processes on CPUs.
        self._state = PartialState(cpu=not torch.accelerator.is_available())
        self.rank, self.world_size = self._state.process_index, self._state.num_processes
        self.is_main_process = self._state.is_main_process

    def wait_for_everyone(self) -> None:
        """See `ProcessGroup`."""
        self._state.wait_for_everyone()

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """Return the sum of the tensors of all processes."""
        device_values = values.to(self._state.device)
        torch.distributed.all_reduce(device_values)
        return device_values.to(values.device)

    def broadcast_object(self, item: Item) -> Item:
        """Return the object of the main process."""
        from accelerate.utils import broadcast_object_list

        received: Item = broadcast_object_list([item])[0]
        return received

    def all_gather_object(self, item: Item) -> list[Item]:
        """Return the objects of all processes by rank."""
        from accelerate.utils import gather_object

        items: list[Item] = gather_object([item])
        return items

    def load_model(self, settings: RunSettings) -> FrozenModel:
        """Load the settings' model; with FSDP, a shard of each of its layers."""
        sharded = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
        if sharded:
            logger.info("each of %d processes keeps a shard of every layer", self.world_size)
        return load_model(settings.model, device=settings.device, dtype=settings.dtype, sharded=sharded)

    def wrap_trainable(self, trainable: Trainable) -> Trainable:
        """See `ProcessGroup`."""
        return DistributedTrainable(trainable, self)

    def wrap_recorder(self, recorder: RunRecorder) -> RunRecorder:
        """See `ProcessGroup`."""
        return DistributedRecorder(recorder, self)

    def wrap_callback(self, callback: TrainerCallback) -> TrainerCallback:
        """See `ProcessGroup`."""
        return DistributedCallback(callback, self)


def init_process_group() -> ProcessGroup:
    """Initialize the group of processes that this one was started with.

    Each process gets its own device, so the model must be loaded afterwards.
    """
    if not is_distributed():
        return SingleProcess()
    process_group = DistributedGroup()
    if not process_group.is_main_process:  # it would repeat the log of the main process
        logging.getLogger("softprompt").setLevel(logging.ERROR)
    return process_group


class DistributedTrainable:
    """Trainable with examples split over processes, and gradients, losses and outputs combined."""

    def __init__(self, trainable: Trainable, process_group: DistributedGroup):
        self.trainable, self.process_group = trainable, process_group

    def param_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """See `Trainable`."""
        return self.trainable.param_groups()

    def state_dict(self) -> Mapping[str, Tensor]:
        """See `Trainable`."""
        return self.trainable.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """See `Trainable`."""
        self.trainable.load_state_dict(state)

    def accumulate_gradients(
        self, objective: Objective, examples: Sequence[EncodedExample], batch_size: int
    ) -> BatchLoss:
        """See `Trainable`. Loss and gradient are the mean over the examples of all processes, in each process.

        Raises:
            SettingError: If the model is sharded, and the examples do not divide evenly among the processes.
        """
        rank, world_size = self.process_group.rank, self.process_group.world_size
        if objective.model.is_sharded and len(examples) % world_size:
            raise SettingError(
                f"{len(examples)} examples per step for {world_size} processes, which must run a sharded model equally "
                f"often: choose a `batch_size` that is a multiple of {world_size}"
            )
        share = examples[rank::world_size]
        local = self.trainable.accumulate_gradients(objective, share, batch_size) if share else BatchLoss(0.0, 0, 0.0)
        weighted_losses = [local.loss * local.weight, local.auxiliary_loss * local.weight]
        sums = torch.tensor([*weighted_losses, local.useful_tokens, local.weight], dtype=torch.float32)
        loss, auxiliary_loss, tokens, weight = self.process_group.all_reduce_sum(sums).tolist()
        self._all_reduce_gradients(local.weight / weight)
        return BatchLoss(loss / weight, int(tokens), weight, auxiliary_loss / weight)

    def _all_reduce_gradients(self, weight: float) -> None:
        """Replace the gradients by their sum over all processes, each weighted by its share of the examples."""
        parameters = [parameter for group, _ in self.trainable.param_groups() for parameter in group]
        gradients = torch.cat([_gradient_or_zeros(parameter).flatten() for parameter in parameters])
        total = self.process_group.all_reduce_sum(gradients * weight)
        for parameter, part in zip(parameters, total.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)

    def compute_outputs(self, objective: Objective, examples: Sequence[EncodedExample]) -> Float[Tensor, "N C"]:
        """See `Trainable`. All processes run equally many examples, with the last example repeated if necessary."""
        rank, world_size = self.process_group.rank, self.process_group.world_size
        padded_count = len(examples) + (-len(examples)) % world_size
        share = [examples[min(i, len(examples) - 1)] for i in range(rank, padded_count, world_size)]
        outputs = self.process_group.all_gather_object(self.trainable.compute_outputs(objective, share))
        in_order = [process_outputs[i] for i in range(len(share)) for process_outputs in outputs]
        return pad_sequence(in_order[: len(examples)], batch_first=True)


def _gradient_or_zeros(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


class DistributedRecorder:
    """Recorder of the main process. The other processes get its state when the checkpoint is loaded."""

    def __init__(self, recorder: RunRecorder, process_group: DistributedGroup):
        self.process_group = process_group
        self.recorder = recorder if process_group.is_main_process else NullRecorder()

    def load_checkpoint(self, trainable: Trainable, optimizer: ScheduledOptimizer) -> TrainerState:
        """See `RunRecorder`."""
        state = self.recorder.load_checkpoint(trainable, optimizer)
        local = (state, _copy_to_cpu(trainable.state_dict()), _copy_to_cpu(optimizer.state_dict()))
        state, parameters, optimizer_state = self.process_group.broadcast_object(local)
        if not self.process_group.is_main_process:
            trainable.load_state_dict(parameters)
            optimizer.load_state_dict(optimizer_state)
        return state

    def save_checkpoint(self, state: TrainerState, trainable: Trainable, optimizer: ScheduledOptimizer) -> None:
        """See `RunRecorder`."""
        self.recorder.save_checkpoint(state, trainable, optimizer)

    def log_step(self, event: StepEvent) -> None:
        """See `RunRecorder`."""
        self.recorder.log_step(event)

    def log_evaluation(self, event: EvalEvent) -> None:
        """See `RunRecorder`."""
        self.recorder.log_evaluation(event)


def _copy_to_cpu(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in tensors.items()}


class DistributedCallback:
    """Callback of the main process. If any process wants to stop, all stop after the same step."""

    def __init__(self, callback: TrainerCallback, process_group: DistributedGroup):
        self.callback, self.process_group = callback, process_group
        self._main_callback = callback if process_group.is_main_process else NullCallback()

    def on_begin(self, steps: int, done: int) -> None:
        """See `TrainerCallback`."""
        self._main_callback.on_begin(steps, done)

    def on_step(self, event: StepEvent) -> None:
        """See `TrainerCallback`."""
        self._main_callback.on_step(event)

    def on_evaluate(self, event: EvalEvent) -> None:
        """See `TrainerCallback`."""
        self._main_callback.on_evaluate(event)

    def should_stop(self) -> bool:
        """See `TrainerCallback`."""
        return bool(self.process_group.all_reduce_sum(torch.tensor([float(self.callback.should_stop())])))
