"""Base of the methods that change weights: they train parameters of a copy of the model, otherwise like a prompt."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softprompt.comparison.experiment.experiment import Experiment
from softprompt.comparison.method_kind import MethodKind
from softprompt.comparison.methods.adaptation_method import AdaptationMethod, FitConfig
from softprompt.comparison.methods.fitted_model import FittedModel
from softprompt.comparison.methods.local_fitted_model import LocalFittedModel
from softprompt.comparison.methods.training_recorder import train_and_record
from softprompt.evaluation.batch_inference import collect_outputs
from softprompt.model import FrozenModel, freeze_network
from softprompt.model.device_dtype import QUANTIZATION_CONFIGS
from softprompt.tasks import EncodedExample, LinearHead, Objective, Task
from softprompt.training import TrainerCallback
from softprompt.training.encoded_dataset import drop_truncated_targets, encode_compact_examples, encode_dataset
from softprompt.training.optimizer import ScheduledOptimizer
from softprompt.training.recorder import NullRecorder
from softprompt.training.task_builder import create_untrained_head
from softprompt.training.trainable import BatchLoss
from softprompt.training.trainer import Trainer, TrainOutcome


@dataclass(frozen=True)
class TrainableModel:
    """A copy of the model with trainable parameters.

    Attributes:
        model: copy of the base model.
        parameters: trainable parameters by name.
        head: linear head for labels, if the task needs one.
    """

    model: FrozenModel
    parameters: Mapping[str, nn.Parameter]
    head: LinearHead | None = None


class WeightMethod(AdaptationMethod):
    """A method that trains parameters inside the model.

    Attributes:
        default_learning_rate: learning rate at the center of the search.
        shares_base_weights: whether the unchanged base model can still answer from the same copy of the weights.
    """

    kind = MethodKind.WEIGHTS
    default_learning_rate: float
    shares_base_weights = True

    @abstractmethod
    def make_trainable(self, experiment: Experiment, model: FrozenModel, seed: int) -> TrainableModel:
        """Make parameters of a copy of the model trainable.

        Raises:
            SoftPromptError: the model has no such parameters.
        """

    def get_default_learning_rate(self, experiment: Experiment) -> float:  # noqa: ARG002
        """Return the same learning rate for every model: the parameters have the scale of weights, or start at zero."""
        return self.default_learning_rate

    def fit(self, experiment: Experiment, config: FitConfig, callback: TrainerCallback) -> FittedModel:
        """Train a copy like a prompt: with the same examples, order, loss, schedule and evaluations."""
        peak = config.learning_rate or self.default_learning_rate
        settings = experiment.settings.to_tune_settings(max_steps=config.steps, seed=config.seed)
        adapted = _add_head(experiment.task, self.make_trainable(experiment, copy_model(experiment.model), config.seed))
        objective = experiment.task.build_objective(adapted.model, adapted.model.shape.window, adapted.head)
        training = drop_truncated_targets(encode_dataset(objective, config.examples, "training"), config.examples)
        validation = encode_compact_examples(objective, experiment.validation, "validation")
        learner = WeightTrainable(adapted.parameters)
        optimizer = ScheduledOptimizer.from_settings(settings, learner, peak)

        def train(callback: TrainerCallback) -> TrainOutcome:
            return Trainer(
                objective, learner, training, validation, settings, optimizer, NullRecorder(), callback
            ).train()

        record, best = train_and_record(train, callback, peak)
        learner.load_state_dict(best)
        trained = sum(p.numel() for p in adapted.parameters.values())
        stored = sum(p.numel() * p.element_size() for p in adapted.parameters.values())
        return LocalFittedModel(
            objective,
            num_trained_parameters=trained,
            stored_bytes=stored,
            shares_base_weights=self.shares_base_weights,
            training_record=record,
        )


def _add_head(task: Task, trainable: TrainableModel) -> TrainableModel:
    """Add a trainable head if the task needs one."""
    head = None if trainable.head is not None else create_untrained_head(task, trainable.model)
    if head is None:
        return trainable
    trained = {f"head.{name}": parameter for name, parameter in head.named_parameters()}
    return replace(trainable, parameters={**trainable.parameters, **trained}, head=head)


class WeightTrainable:
    """Parameters inside a model as a `Trainable`."""

    def __init__(self, parameters: Mapping[str, nn.Parameter]):
        self.parameters = parameters

    def accumulate_gradients(
        self, objective: Objective, examples: Sequence[EncodedExample], batch_size: int
    ) -> BatchLoss:
        """Add the gradient of the examples' mean loss, batch by batch."""
        batches = [objective.collate(examples[i : i + batch_size], None) for i in range(0, len(examples), batch_size)]
        weight = sum(float(batch.example_weights.sum()) for batch in batches)
        total = 0.0
        for batch in batches:
            loss = objective.compute_losses(objective.forward_batch(batch, None), batch).sum() / weight
            loss.backward()
            total += loss.item()
        return BatchLoss(total, sum(batch.useful_tokens for batch in batches), weight)

    def compute_outputs(self, objective: Objective, examples: Sequence[EncodedExample]) -> Float[Tensor, "N C"]:
        """Compute the outputs without a prompt; see `Trainable`."""
        return collect_outputs(objective, None, examples)

    def param_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Return all parameters with the same learning rate."""
        return [(list(self.parameters.values()), 1.0)]

    def state_dict(self) -> Mapping[str, Tensor]:
        """Return the trainable parameters."""
        return self.parameters

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load parameters from `state_dict`."""
        for name, parameter in self.parameters.items():
            parameter.copy_(state[name])


def copy_model(model: FrozenModel) -> FrozenModel:
    """Return a copy of the model with its own weights.

    The copy is in float32, like prompts: in half precision, small updates of large weights are lost to rounding.
    Quantized weights stay quantized.
    """
    network = copy.deepcopy(model.network)
    copied = freeze_network(
        network if model.precision in QUANTIZATION_CONFIGS else network.float(), model.tokenizer, model.name
    )
    copied.precision, copied.num_parameters, copied.fingerprint = (
        model.precision,
        model.num_parameters,
        model.fingerprint,
    )
    return copied


def unfreeze_parameters(network: nn.Module, parameters: Sequence[nn.Parameter]) -> dict[str, nn.Parameter]:
    """Make parameters of a network trainable, and return them by name."""
    ids = {id(p) for p in parameters}
    unfrozen = {name: p for name, p in network.named_parameters() if id(p) in ids}
    for parameter in unfrozen.values():
        parameter.requires_grad_()
    return unfrozen
