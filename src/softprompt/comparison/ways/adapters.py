"""Numbers added inside the model: LoRA and its kin as peft has them, and bottleneck adapters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from softprompt.comparison.bench import Bench
from softprompt.comparison.ways.argument import number
from softprompt.comparison.ways.weights import Adapted, WeightWay, thawed
from softprompt.errors import SettingError
from softprompt.model import FrozenModel

RANK = 8


class Injected(WeightWay):
    """A method of peft's, injected into every linear layer of the model's trunk.

    Args:
        title: as the report names it.
        config: peft's configuration class and its arguments, from peft and a rank.
        default_rate: AdamW's.
        argument: the rank, where the method has one.
    """

    def __init__(self, title: str, config: Callable[[Any, int], Any], default_rate: float, argument: str | None = None):
        self.config, self.default_rate = config, default_rate
        self.rank = number(title.lower(), argument, RANK, "the rank")
        self.title = title if argument is None else f"{title}, rank {self.rank}"

    def adapt(self, bench: Bench, model: FrozenModel, seed: int) -> Adapted:  # noqa: ARG002
        """What peft adds.

        Raises:
            SettingError: peft is not installed, or does not know such a model.
        """
        try:
            import peft
        except ImportError as error:
            raise SettingError("this way needs peft:  pip install 'softprompt[compare]'") from error
        before = set(map(id, model.network.parameters()))
        config = self.config(peft, self.rank)
        config.target_modules, transposed = _linear_layers(model)
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
        return Adapted(model, thawed(model.network, added))


def _linear_layers(model: FrozenModel) -> tuple[list[str], bool]:
    """The names of the linear layers inside the model's layers, and whether their weights lie the other way round.

    GPT-2's do: its layers are transformers' `Conv1D`, `[in, out]`.
    """
    inside = {id(module) for layer in model.family.layers(model.network) for module in layer.modules()}
    found = {
        name: module
        for name, module in model.network.named_modules()
        if id(module) in inside and isinstance(module, nn.Linear | Conv1D)
    }
    return list(found), any(isinstance(module, Conv1D) for module in found.values())


class Bottleneck(WeightWay):
    """`adapter:WIDTH`: down, GELU, up, and added, behind every layer (Pfeiffer et al. 2021, arXiv 2005.00247)."""

    default_rate = 1e-3

    def __init__(self, argument: str | None = None):
        """Take the width as it was typed.

        Raises:
            SettingError: it is no number above zero.
        """
        self.width = number("adapter", argument, 32, "the width")
        self.title = f"bottleneck adapters, width {self.width}"

    def adapt(self, bench: Bench, model: FrozenModel, seed: int) -> Adapted:  # noqa: ARG002
        """A bottleneck behind every layer; it starts as nothing, since its way up starts at zero."""
        H = model.shape.hidden_size
        generator = torch.Generator().manual_seed(seed)
        added: dict[str, nn.Parameter] = {}
        for place, layer in enumerate(model.family.layers(model.network)):
            down = torch.randn(self.width, H, generator=generator) / H**0.5
            adapter = _Bottleneck(down.to(model.device, model.dtype))
            layer.register_forward_hook(adapter.behind)
            added |= {f"{place}.{name}": parameter for name, parameter in adapter.named_parameters()}
        return Adapted(model, added)


class _Bottleneck(nn.Module):
    def __init__(self, down: Tensor):
        super().__init__()
        self.down = nn.Parameter(down)
        self.up = nn.Parameter(torch.zeros_like(down).T.contiguous())

    def forward(self, hidden: Tensor) -> Tensor:
        narrow = nn.functional.gelu(nn.functional.linear(hidden, self.down))
        return hidden + nn.functional.linear(narrow, self.up)

    def behind(self, layer: nn.Module, inputs: Any, output: Any) -> Any:  # noqa: ARG002
        """What a layer gives, with the adapter behind it: some layers give a tuple whose first is the hidden state."""
        return (self(output[0]), *output[1:]) if isinstance(output, tuple) else self(output)
