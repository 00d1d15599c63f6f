"""Fingerprint and size of a model from its files: no weights are loaded, and only the sampled numbers are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import PreTrainedModel

from softprompt.errors import ModelNotSupported, SettingError, summarize_error
from softprompt.model.fingerprint import hash_samples, sample_parameter
from softprompt.model.pretrained_files import make_network, read_config
from softprompt.model.weight_checks import get_lm_head_parameters, remove_lm_head

#: Names in older files of parameters that transformers has renamed since.
LEGACY_PARAMETER_NAMES = {"lm_head.weight": "embed_out.weight"}  # GPT-NeoX
_WEIGHTS_FILE, _WEIGHTS_INDEX_FILE = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class CheckpointInfo:
    """Facts about a model that its files contain.

    Attributes:
        fingerprint: fingerprint of the weights, equal to `FrozenModel.fingerprint` of the loaded model.
        num_parameters: number of parameters, N.
        missing_head_weights: names of language-modeling head weights that the files lack; if any, there is no head.
    """

    fingerprint: str
    num_parameters: int
    missing_head_weights: tuple[str, ...]


def read_fingerprint(folder: Path) -> str:
    """Read the fingerprint of the model in a folder: see `read_checkpoint_info`."""
    return read_checkpoint_info(folder).fingerprint


def read_checkpoint_info(folder: Path) -> CheckpointInfo:
    """Read the facts about the model in a folder.

    Raises:
        SettingError: the files are not safetensors, are quantized, or have the parameter names of another library.
    """
    try:
        return _read_info(folder)
    except (OSError, ValueError, KeyError, SafetensorError, ModelNotSupported) as error:
        raise SettingError(
            f"{folder} does not tell the model's fingerprint ({summarize_error(error)}): give it, as "
            "`softprompt show PROMPT` prints it for a prompt of this model"
        ) from error


def _read_info(folder: Path) -> CheckpointInfo:
    config = read_config(folder)
    dtype = config.dtype if isinstance(config.dtype, torch.dtype) else None
    with torch.device("meta"):
        network: PreTrainedModel = make_network(config)
    stored = _StoredParameters(folder, network.base_model_prefix + ".")
    head = get_lm_head_parameters(network)
    parameter_names = {name for name, _ in network.named_parameters()}
    missing = tuple(sorted(name for name in parameter_names.intersection(head) if not stored.find_stored_names([name])))
    if missing:
        remove_lm_head(network, head)
    samples = [
        (names[0], parameter.shape, stored.sample_parameter(names, parameter, dtype))
        for names, parameter in _collect_parameters(network)
    ]
    fingerprint = hash_samples(config.model_type, samples)
    return CheckpointInfo(fingerprint, sum(parameter.numel() for parameter in network.parameters()), missing)


def _collect_parameters(network: PreTrainedModel) -> list[tuple[list[str], Tensor]]:
    """Return each parameter with its names; a tied parameter has several."""
    names: dict[int, tuple[list[str], Tensor]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), ([], parameter))[0].append(name)
    return list(names.values())


class _StoredParameters:
    """The parameters in the files of a folder.

    Args:
        folder: folder with the files.
        base_prefix: prefix of the names of the layers, which files that contain only the layers leave out.
    """

    def __init__(self, folder: Path, base_prefix: str):
        self.folder, self.base_prefix, self.weight_map = folder, base_prefix, _read_weight_map(folder)

    def find_stored_names(self, names: Sequence[str]) -> list[str]:
        """Return the names in the files of a parameter that has these names in the network."""
        with_other_prefix = [
            name.removeprefix(self.base_prefix) if name.startswith(self.base_prefix) else self.base_prefix + name
            for name in names
        ]
        legacy = [LEGACY_PARAMETER_NAMES[name] for name in names if name in LEGACY_PARAMETER_NAMES]
        return [name for name in dict.fromkeys([*names, *with_other_prefix, *legacy]) if name in self.weight_map]

    def sample_parameter(self, names: Sequence[str], like: Tensor, dtype: torch.dtype | None) -> Tensor:
        """Sample a parameter for the fingerprint.

        Args:
            names: names of the parameter in the network.
            like: parameter of the network, without values.
            dtype: precision that the configuration names, or None.

        Raises:
            KeyError: the files lack the parameter.
            ValueError: the parameter has another shape, is quantized, or is tied in the configuration only.
        """
        samples = [self._sample_stored(name, like, dtype) for name in self.find_stored_names(names)]
        if not samples:
            raise KeyError(names[0])
        if any(not torch.equal(sample, samples[0]) for sample in samples):
            raise ValueError(f"{' and '.join(names)} are tied by the configuration, and not in the files")
        return samples[0]

    def _sample_stored(self, name: str, like: Tensor, dtype: torch.dtype | None) -> Tensor:
        with safe_open(self.folder / self.weight_map[name], framework="pt") as opened:
            parameter: Tensor = opened.get_tensor(name)  # memory mapped: only the sampled numbers are read
            if parameter.shape != like.shape or not parameter.is_floating_point():
                raise ValueError(f"{name} is {parameter.dtype} of {tuple(parameter.shape)}")
            return sample_parameter(parameter, dtype)


def _read_weight_map(folder: Path) -> dict[str, str]:
    """Return the file of each parameter, by name."""
    if (index := folder / _WEIGHTS_INDEX_FILE).is_file():
        files: dict[str, str] = json.loads(index.read_text("utf-8"))["weight_map"]
        return files
    with safe_open(folder / _WEIGHTS_FILE, framework="pt") as file:
        return dict.fromkeys(file.keys(), _WEIGHTS_FILE)
