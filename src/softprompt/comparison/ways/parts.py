"""Train a part of the model's own weights: all, the last layers, the biases, or nothing but a head on top."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from softprompt.comparison.bench import Bench
from softprompt.comparison.ways.argument import nothing, number
from softprompt.comparison.ways.weights import Adapted, WeightWay, thawed
from softprompt.errors import SettingError, TaskError
from softprompt.model import FrozenModel
from softprompt.tasks import LinearHead


class Full(WeightWay):
    """Full fine-tuning: every weight trains."""

    title, default_rate, removable = "full fine-tuning", 3e-5, False

    def __init__(self, argument: str | None = None):
        nothing("full", argument)

    def adapt(self, bench: Bench, model: FrozenModel, seed: int) -> Adapted:  # noqa: ARG002
        """All of them."""
        return Adapted(model, thawed(model.network, list(_floating(model.network.parameters(), model))))


class LastLayers(WeightWay):
    """`last:K`: the last K layers train, those below are frozen."""

    default_rate, removable = 1e-4, False

    def __init__(self, argument: str | None = None):
        """Take K as it was typed.

        Raises:
            SettingError: it is no number above zero.
        """
        self.layers = number("last", argument, 2, "how many layers train")
        self.title = f"last {self.layers} layers" if self.layers > 1 else "last layer"

    def adapt(self, bench: Bench, model: FrozenModel, seed: int) -> Adapted:  # noqa: ARG002
        """The last K.

        Raises:
            SettingError: the model has fewer.
        """
        layers = list(model.family.layers(model.network))
        if self.layers > len(layers):
            raise SettingError(f"last:{self.layers}: {model.name} has {len(layers)} layers")
        chosen = [p for layer in layers[-self.layers :] for p in layer.parameters()]
        return Adapted(model, thawed(model.network, list(_floating(chosen, model))))


class BitFit(WeightWay):
    """Biases alone (Ben Zaken et al. 2022, arXiv 2106.10199). A linear layer that has none gets one of zeros."""

    title, default_rate, removable = "BitFit", 2e-3, False

    def __init__(self, argument: str | None = None):
        nothing("bitfit", argument)

    def adapt(self, bench: Bench, model: FrozenModel, seed: int) -> Adapted:  # noqa: ARG002
        """Every bias inside the layers."""
        layers = list(model.family.layers(model.network))
        for module in (module for layer in layers for module in layer.modules()):
            if isinstance(module, nn.Linear) and module.bias is None:
                zeros = torch.zeros(module.out_features, dtype=model.dtype, device=model.device)
                module.bias = nn.Parameter(zeros)
        biases = [p for layer in layers for name, p in layer.named_parameters() if name.endswith("bias")]
        return Adapted(model, thawed(model.network, biases))


class Head(WeightWay):
    """A linear head on the last hidden state, and nothing below it: a probe, the tutorials' "freezing"."""

    title, default_rate = "linear head alone", 3e-3

    def __init__(self, argument: str | None = None):
        nothing("head", argument)

    def adapt(self, bench: Bench, model: FrozenModel, seed: int) -> Adapted:  # noqa: ARG002
        """The head.

        Raises:
            TaskError: the task has no labels to choose from.
        """
        if not bench.task.labels:
            raise TaskError(f"head: a {bench.task.kind} has no labels for a linear head to choose from")
        head = LinearHead(len(bench.task.labels), model.shape.hidden_size).to(model.device)
        return Adapted(model, dict(head.named_parameters()), head)


def _floating(parameters: Iterable[nn.Parameter], model: FrozenModel) -> Iterable[nn.Parameter]:
    """The parameters, if they can have gradients.

    Raises:
        TaskError: they are quantised.
    """
    for parameter in parameters:
        if not parameter.is_floating_point():
            raise TaskError(f"{model.name} is quantised ({model.precision}): its own weights cannot train")
        yield parameter
