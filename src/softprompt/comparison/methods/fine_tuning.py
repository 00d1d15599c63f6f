"""Methods that train the model's weights: all of them, the last layers, the biases, or only a head."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from softprompt.comparison.experiment.experiment import Experiment
from softprompt.comparison.methods.method_argument import parse_count, reject_argument
from softprompt.comparison.methods.weight_method import TrainableModel, WeightMethod, unfreeze_parameters
from softprompt.errors import SettingError, TaskError
from softprompt.model import FrozenModel
from softprompt.tasks import LinearHead


class FullFineTuning(WeightMethod):
    """Full fine-tuning of every weight."""

    title, default_learning_rate, shares_base_weights = "full fine-tuning", 3e-5, False

    def __init__(self, argument: str | None = None):
        reject_argument("full", argument)

    def make_trainable(self, experiment: Experiment, model: FrozenModel, seed: int) -> TrainableModel:  # noqa: ARG002
        """Unfreeze all parameters."""
        return TrainableModel(
            model, unfreeze_parameters(model.network, list(_require_floating_point(model.network.parameters(), model)))
        )


class LastLayersFineTuning(WeightMethod):
    """Fine-tuning of the last K layers, `last:K`."""

    default_learning_rate, shares_base_weights = 1e-4, False

    def __init__(self, argument: str | None = None):
        """Parse K.

        Raises:
            SettingError: K is not a positive integer.
        """
        self.num_layers = parse_count("last", argument, 2, "the number of trained layers")
        self.title = f"last {self.num_layers} layers" if self.num_layers > 1 else "last layer"

    def make_trainable(self, experiment: Experiment, model: FrozenModel, seed: int) -> TrainableModel:  # noqa: ARG002
        """Unfreeze the last K layers.

        Raises:
            SettingError: the model has fewer layers.
        """
        layers = list(model.family.get_layers(model.network))
        if self.num_layers > len(layers):
            raise SettingError(f"last:{self.num_layers}: {model.name} has {len(layers)} layers")
        chosen = [p for layer in layers[-self.num_layers :] for p in layer.parameters()]
        return TrainableModel(model, unfreeze_parameters(model.network, list(_require_floating_point(chosen, model))))


class BitFitTuning(WeightMethod):
    """Training of biases only (Ben Zaken et al. 2022, arXiv 2106.10199). Missing biases of linear layers are added."""

    title, default_learning_rate, shares_base_weights = "BitFit", 2e-3, False

    def __init__(self, argument: str | None = None):
        reject_argument("bitfit", argument)

    def make_trainable(self, experiment: Experiment, model: FrozenModel, seed: int) -> TrainableModel:  # noqa: ARG002
        """Unfreeze every bias of the layers."""
        layers = list(model.family.get_layers(model.network))
        for module in (module for layer in layers for module in layer.modules()):
            if isinstance(module, nn.Linear) and module.bias is None:
                zeros = torch.zeros(module.out_features, dtype=model.dtype, device=model.device)
                module.bias = nn.Parameter(zeros)
        biases = [p for layer in layers for name, p in layer.named_parameters() if name.endswith("bias")]
        return TrainableModel(model, unfreeze_parameters(model.network, biases))


class LinearProbe(WeightMethod):
    """A linear head on the last hidden state of the frozen model: a linear probe."""

    title, default_learning_rate = "linear head alone", 3e-3

    def __init__(self, argument: str | None = None):
        reject_argument("head", argument)

    def make_trainable(self, experiment: Experiment, model: FrozenModel, seed: int) -> TrainableModel:  # noqa: ARG002
        """Add the head.

        Raises:
            TaskError: the task has no labels.
        """
        if not experiment.task.labels:
            raise TaskError(f"head is not supported for {experiment.task.kind}: the task has no labels")
        head = LinearHead(len(experiment.task.labels), model.shape.hidden_size).to(model.device)
        return TrainableModel(model, dict(head.named_parameters()), head)


def _require_floating_point(parameters: Iterable[nn.Parameter], model: FrozenModel) -> Iterable[nn.Parameter]:
    """Yield the parameters if they can have gradients.

    Raises:
        TaskError: the parameters are quantized.
    """
    for parameter in parameters:
        if not parameter.is_floating_point():
            raise TaskError(f"{model.name} is quantized ({model.precision}), so its weights cannot be trained")
        yield parameter
