"""Methods that add parameters inside the model: LoRA and its relatives from peft, and bottleneck adapters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from softprompt.comparison.experiment.experiment import Experiment
from softprompt.comparison.methods.method_argument import parse_count
from softprompt.comparison.methods.weight_method import TrainableModel, WeightMethod, unfreeze_parameters
from softprompt.errors import SettingError
from softprompt.model import FrozenModel

DEFAULT_RANK = 8


class PeftMethod(WeightMethod):
    """A method of peft, injected into every linear layer of the backbone's layers.

    Args:
        title: title in the report.
        config_factory: function from the peft module and a rank to a peft configuration.
        default_learning_rate: learning rate at the center of the search.
        argument: rank, for methods that have one.
    """

    def __init__(
        self,
        title: str,
        config_factory: Callable[[Any, int], Any],
        default_learning_rate: float,
        argument: str | None = None,
    ):
        self.config_factory, self.default_learning_rate = config_factory, default_learning_rate
        self.rank = parse_count(title.lower(), argument, DEFAULT_RANK, "the rank")
        self.title = title if argument is None else f"{title}, rank {self.rank}"

    def make_trainable(self, experiment: Experiment, model: FrozenModel, seed: int) -> TrainableModel:  # noqa: ARG002
        """Inject peft's parameters.

        Raises:
            SettingError: peft is not installed, or does not support the model.
        """
        try:
            import peft
        except ImportError as error:
            raise SettingError("this method requires peft:  pip install 'softprompt[compare]'") from error
        before = set(map(id, model.network.parameters()))
        config = self.config_factory(peft, self.rank)
        config.target_modules, transposed = _find_linear_layers(model)
        if hasattr(config, "fan_in_fan_out"):
            config.fan_in_fan_out = transposed
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            try:
                peft.inject_adapter_in_model(config, model.network)
            except (ValueError, TypeError) as error:
                raise SettingError(f"{self.title}: peft cannot adapt {model.name}: {error}") from error
        added = [p for p in model.network.parameters() if id(p) not in before and p.requires_grad]
        model.network.eval()
        return TrainableModel(model, unfreeze_parameters(model.network, added))


def _find_linear_layers(model: FrozenModel) -> tuple[list[str], bool]:
    """Return the names of the linear layers inside the model's layers, and whether their weights are transposed.

    GPT-2's are: its layers are transformers' `Conv1D`, `[in, out]`.
    """
    inside = {id(module) for layer in model.family.get_layers(model.network) for module in layer.modules()}
    linear_layers = {
        name: module
        for name, module in model.network.named_modules()
        if id(module) in inside and isinstance(module, nn.Linear | Conv1D)
    }
    return list(linear_layers), any(isinstance(module, Conv1D) for module in linear_layers.values())


class BottleneckMethod(WeightMethod):
    """Bottleneck adapters, `adapter:WIDTH`: a residual down-GELU-up module after every layer.

    Pfeiffer et al. 2021, arXiv 2005.00247.
    """

    default_learning_rate = 1e-3

    def __init__(self, argument: str | None = None):
        """Parse the width.

        Raises:
            SettingError: the width is not a positive integer.
        """
        self.width = parse_count("adapter", argument, 32, "the width")
        self.title = f"bottleneck adapters, width {self.width}"

    def make_trainable(self, experiment: Experiment, model: FrozenModel, seed: int) -> TrainableModel:  # noqa: ARG002
        """Add a bottleneck after every layer. Its up-projection starts at zero, so the model is unchanged at first."""
        H = model.shape.hidden_size
        generator = torch.Generator().manual_seed(seed)
        added: dict[str, nn.Parameter] = {}
        for index, layer in enumerate(model.family.get_layers(model.network)):
            down = torch.randn(self.width, H, generator=generator) / H**0.5
            adapter = _BottleneckAdapter(down.to(model.device, model.dtype))
            layer.register_forward_hook(adapter.adapt_output)
            added |= {f"{index}.{name}": parameter for name, parameter in adapter.named_parameters()}
        return TrainableModel(model, added)


class _BottleneckAdapter(nn.Module):
    def __init__(self, down_proj: Tensor):
        super().__init__()
        self.down_proj = nn.Parameter(down_proj)
        self.up_proj = nn.Parameter(torch.zeros_like(down_proj).T.contiguous())

    def forward(self, hidden: Tensor) -> Tensor:
        narrow = nn.functional.gelu(nn.functional.linear(hidden, self.down_proj))
        return hidden + nn.functional.linear(narrow, self.up_proj)

    def adapt_output(self, layer: nn.Module, inputs: Any, output: Any) -> Any:  # noqa: ARG002
        """Apply the adapter to a layer's output. Some layers return a tuple that starts with the hidden state."""
        return (self(output[0]), *output[1:]) if isinstance(output, tuple) else self(output)
