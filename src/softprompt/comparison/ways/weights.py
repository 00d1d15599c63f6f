"""Ways that change weights: some numbers of a copy of the model train, and all else is as with a prompt."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softprompt.comparison.bench import Bench
from softprompt.comparison.course import followed
from softprompt.comparison.local import FittedHere
from softprompt.comparison.way import Fitted, Kind, Trial, Way
from softprompt.evaluation.measuring import row_outputs
from softprompt.model import FrozenModel, frozen
from softprompt.model.precision import QUANTIZED
from softprompt.tasks import LinearHead, Objective, Row, Task
from softprompt.training import Watcher
from softprompt.training.learner import Learnt
from softprompt.training.loop import Outcome, Training
from softprompt.training.optimisation import Optimiser
from softprompt.training.preparation import encode, encode_compactly, head_of, learnable
from softprompt.training.record import NoRecord


@dataclass(frozen=True)
class Adapted:
    """A model of which some numbers train.

    Attributes:
        model: the copy.
        parameters: what trains, by name.
        head: a linear head that reads labels, if the words do not.
    """

    model: FrozenModel
    parameters: Mapping[str, nn.Parameter]
    head: LinearHead | None = None


class WeightWay(Way):
    """A way that trains numbers inside the model.

    Attributes:
        default_rate: AdamW's, around which others are tried.
        removable: whether the untouched base still answers beside it from the same copy of the weights.
    """

    kind = Kind.WEIGHTS
    default_rate: float
    removable = True

    @abstractmethod
    def adapt(self, bench: Bench, model: FrozenModel, seed: int) -> Adapted:
        """Make some numbers of a copy trainable.

        Raises:
            SoftPromptError: the model has nothing of the kind.
        """

    def rate(self, bench: Bench) -> float:  # noqa: ARG002
        """The same for every model: these numbers have the scale of weights, or start at nothing."""
        return self.default_rate

    def fit(self, bench: Bench, trial: Trial, watcher: Watcher) -> Fitted:
        """Train a copy as a prompt would be trained: the same rows, order, loss, schedule, evaluations."""
        peak = trial.rate or self.default_rate
        settings = bench.settings.tuning(steps=trial.steps, seed=trial.seed)
        adapted = _headed(bench.task, self.adapt(bench, copied(bench.model), trial.seed))
        objective = bench.task.bind(adapted.model, adapted.model.shape.window, adapted.head)
        rows = learnable(encode(objective, trial.examples, "training"), trial.examples)
        validation = encode_compactly(objective, bench.validation, "validation")
        learner = Weights(adapted.parameters)
        optimiser = Optimiser.of(settings, learner, peak)

        def train(listener: Watcher) -> Outcome:
            return Training(objective, learner, rows, validation, settings, optimiser, NoRecord(), listener).run()

        course, best = followed(train, watcher, peak)
        learner.load_state_dict(best)
        trained = sum(p.numel() for p in adapted.parameters.values())
        stored = sum(p.numel() * p.element_size() for p in adapted.parameters.values())
        return FittedHere(
            objective, trained_parameters=trained, stored_bytes=stored, removable=self.removable, course=course
        )


def _headed(task: Task, adapted: Adapted) -> Adapted:
    """With a head that trains as well, where the task is read by one."""
    head = None if adapted.head is not None else head_of(task, adapted.model)
    if head is None:
        return adapted
    trained = {f"head.{name}": parameter for name, parameter in head.named_parameters()}
    return replace(adapted, parameters={**adapted.parameters, **trained}, head=head)


class Weights:
    """Numbers inside a model as what learns."""

    def __init__(self, parameters: Mapping[str, nn.Parameter]):
        self.parameters = parameters

    def accumulate(self, objective: Objective, rows: Sequence[Row], batch_size: int) -> Learnt:
        """Add the gradient of the rows' mean loss, pass by pass."""
        batches = [objective.collate(rows[i : i + batch_size], None) for i in range(0, len(rows), batch_size)]
        weight = sum(float(batch.weights.sum()) for batch in batches)
        total = 0.0
        for batch in batches:
            loss = objective.losses(objective.read(batch, None), batch).sum() / weight
            loss.backward()
            total += loss.item()
        return Learnt(total, sum(batch.useful_tokens for batch in batches), weight)

    def outputs(self, objective: Objective, rows: Sequence[Row]) -> Float[Tensor, "N C"]:
        """See `Learner`: nothing stands in front of the rows."""
        return row_outputs(objective, None, rows)

    def rates(self) -> list[tuple[list[nn.Parameter], float]]:
        """All at one rate."""
        return [(list(self.parameters.values()), 1.0)]

    def state_dict(self) -> Mapping[str, Tensor]:
        """The numbers that train."""
        return self.parameters

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state_dict` gave."""
        for name, parameter in self.parameters.items():
            parameter.copy_(state[name])


def copied(model: FrozenModel) -> FrozenModel:
    """The same model with weights of its own, which may change.

    In float32, as prompts are: in half precision a small update of a large weight is no update. Quantised weights stay.
    """
    network = copy.deepcopy(model.network)
    own = frozen(network if model.precision in QUANTIZED else network.float(), model.tokenizer, model.name)
    own.precision, own.num_parameters, own.fingerprint = model.precision, model.num_parameters, model.fingerprint
    return own


def thawed(network: nn.Module, chosen: Sequence[nn.Parameter]) -> dict[str, nn.Parameter]:
    """Make parameters of a network trainable, and name them."""
    wanted = {id(p) for p in chosen}
    found = {name: p for name, p in network.named_parameters() if id(p) in wanted}
    for parameter in found.values():
        parameter.requires_grad_()
    return found
