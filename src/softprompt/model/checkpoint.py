"""A model's fingerprint by its files alone: no weights are loaded, only the few numbers that go into it are read."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from softprompt.errors import SettingError, first_line
from softprompt.model.fingerprint import fingerprint_of_samples, sampled

_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


def fingerprint_of_files(folder: Path) -> str:
    """What `FrozenModel.fingerprint` is of a causal model in a folder.

    Raises:
        SettingError: its files do not tell: they are of another format, quantised, or named by another library.
    """
    try:
        config = AutoConfig.from_pretrained(folder)
        with torch.device("meta"):
            network: nn.Module = AutoModelForCausalLM.from_config(config)
        places = _places(folder)
        samples = ((name, like.shape, _read(folder, places, name, like)) for name, like in network.named_parameters())
        return fingerprint_of_samples(config.model_type, samples)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise SettingError(
            f"{folder} does not tell the model's fingerprint ({first_line(error)}): give it, as "
            "`softprompt show PROMPT` prints it for a prompt of this model"
        ) from error


def _places(folder: Path) -> dict[str, str]:
    """Which file has which parameter."""
    if (index := folder / _INDEX).is_file():
        places: dict[str, str] = json.loads(index.read_text("utf-8"))["weight_map"]
        return places
    with safe_open(folder / _WHOLE, framework="pt") as file:
        return dict.fromkeys(file.keys(), _WHOLE)


def _read(folder: Path, places: dict[str, str], name: str, like: Tensor) -> Tensor:
    with safe_open(folder / places[name], framework="pt") as file:
        parameter: Tensor = file.get_tensor(name)  # a view of the file, of which only what is sampled is read
        if parameter.shape != like.shape or not parameter.is_floating_point():
            raise ValueError(f"{name} is {parameter.dtype} of {tuple(parameter.shape)}")
        return sampled(parameter)
