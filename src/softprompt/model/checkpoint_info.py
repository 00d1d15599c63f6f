"""What a model's files say of it by themselves: no weights are loaded, and only the fingerprint's numbers are read."""

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

#: What files may call a parameter that transformers has renamed since.
LEGACY_PARAMETER_NAMES = {"lm_head.weight": "embed_out.weight"}  # GPT-NeoX
_WEIGHTS_FILE, _WEIGHTS_INDEX_FILE = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class CheckpointInfo:
    """A model by its files.

    Attributes:
        fingerprint: what `FrozenModel.fingerprint` is of it.
        num_parameters: N.
        missing_head: the weights of its word head that are not there; then it has none.
    """

    fingerprint: str
    num_parameters: int
    missing_head_weights: tuple[str, ...]


def read_fingerprint(folder: Path) -> str:
    """The fingerprint of the model in a folder; see `read_checkpoint_info`."""
    return read_checkpoint_info(folder).fingerprint


def read_checkpoint_info(folder: Path) -> CheckpointInfo:
    """The model in a folder.

    Raises:
        SettingError: its files do not tell: they are of another format, quantised, or named by another library.
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
    names = {name for name, _ in network.named_parameters()}
    missing = tuple(sorted(name for name in names.intersection(head) if not stored.find_stored_names([name])))
    if missing:
        remove_lm_head(network, head)
    samples = [
        (own[0], like.shape, stored.sample_parameter(own, like, dtype)) for own, like in _collect_parameters(network)
    ]
    fingerprint = hash_samples(config.model_type, samples)
    return CheckpointInfo(fingerprint, sum(each.numel() for each in network.parameters()), missing)


def _collect_parameters(network: PreTrainedModel) -> list[tuple[list[str], Tensor]]:
    """Each parameter with all of its names, of which one that is tied has several."""
    names: dict[int, tuple[list[str], Tensor]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), ([], parameter))[0].append(name)
    return list(names.values())


class _StoredParameters:
    """The parameters in a folder's files.

    Args:
        folder: where they are.
        prefix: what the network's layers are in: files may hold these alone, and then leave it out.
    """

    def __init__(self, folder: Path, base_prefix: str):
        self.folder, self.base_prefix, self.weight_map = folder, base_prefix, _read_weight_map(folder)

    def find_stored_names(self, names: Sequence[str]) -> list[str]:
        """Under which names the files have a parameter that the network has under these."""
        cut = [
            name.removeprefix(self.base_prefix) if name.startswith(self.base_prefix) else self.base_prefix + name
            for name in names
        ]
        old = [LEGACY_PARAMETER_NAMES[name] for name in names if name in LEGACY_PARAMETER_NAMES]
        return [name for name in dict.fromkeys([*names, *cut, *old]) if name in self.weight_map]

    def sample_parameter(self, names: Sequence[str], like: Tensor, dtype: torch.dtype | None) -> Tensor:
        """What of a parameter goes into the fingerprint.

        Raises:
            KeyError: it is not there.
            ValueError: it is of another shape, no floating-point numbers, or two that the configuration calls one.
        """
        found = [self._sample_stored(name, like, dtype) for name in self.find_stored_names(names)]
        if not found:
            raise KeyError(names[0])
        if any(not torch.equal(each, found[0]) for each in found):
            raise ValueError(f"{' and '.join(names)} are tied by the configuration, and not in the files")
        return found[0]

    def _sample_stored(self, name: str, like: Tensor, dtype: torch.dtype | None) -> Tensor:
        with safe_open(self.folder / self.weight_map[name], framework="pt") as opened:
            parameter: Tensor = opened.get_tensor(name)  # a view of the file, of which only what is sampled is read
            if parameter.shape != like.shape or not parameter.is_floating_point():
                raise ValueError(f"{name} is {parameter.dtype} of {tuple(parameter.shape)}")
            return sample_parameter(parameter, dtype)


def _read_weight_map(folder: Path) -> dict[str, str]:
    """Which file has which parameter."""
    if (index := folder / _WEIGHTS_INDEX_FILE).is_file():
        files: dict[str, str] = json.loads(index.read_text("utf-8"))["weight_map"]
        return files
    with safe_open(folder / _WEIGHTS_FILE, framework="pt") as file:
        return dict.fromkeys(file.keys(), _WEIGHTS_FILE)
