"""Load a frozen model: the embedded one by its name, any other by a path or its Hub id."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import httpx2
import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from softprompt.errors import ModelNotFound, NoNetwork, SettingError
from softprompt.model.embedded import EMBEDDED, unpacked
from softprompt.model.family import resolve
from softprompt.model.frozen import FrozenModel
from softprompt.model.quiet import quiet

logger = logging.getLogger(__name__)

HUB_TIMEOUT_SECONDS = 10.0
FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]  # no pickles


def load_model(name: str, *, device: str = "auto", dtype: str = "auto") -> FrozenModel:
    """Load a base model and freeze it.

    Args:
        name: `smollm2-135m`, a folder, or a Hub id.
        device: `auto` (the accelerator if there is one), or torch's name of it: `cpu`, `cuda`, `cuda:1`, `mps`.
        dtype: `auto` (float32 on the CPU, elsewhere the checkpoint's own), `float32`, `bfloat16` or `float16`.

    Raises:
        ModelNotFound: no such folder, Hub id or embedded model.
        ModelNotSupported: a family whose answers would be wrong.
        NoNetwork: the Hub cannot be reached and the model was never downloaded.
        SettingError: no such device or precision.
    """
    target = _device(device)
    precision = _dtype(dtype, target)
    folder = _folder(name)
    with quiet():
        try:
            resolve(AutoConfig.from_pretrained(folder))
            tokenizer = AutoTokenizer.from_pretrained(folder)
            network = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
        except (OSError, ValueError, KeyError) as error:
            raise ModelNotFound(
                f"{name!r} cannot be loaded as a causal language model: {_first_line(error)}"
            ) from error
    model = FrozenModel(network, tokenizer, name)
    _ = model.fingerprint  # taken before the weights are cast: rounding to float16 would give another
    torch.nn.Module.to(network, device=target, dtype=precision or network.dtype)
    return model


def _folder(name: str) -> Path:
    """The folder that holds the model, unpacked or downloaded first where it must be."""
    if name in EMBEDDED:
        return unpacked(name)
    if Path(name).is_dir():
        return Path(name)
    if Path(name).is_absolute() or name.startswith((".", "~")):
        raise ModelNotFound(f"no folder {name}")
    return _downloaded(name)


def _downloaded(name: str) -> Path:
    """The Hub's files of a model, from the cache where they are whole: then the network is not asked at all."""
    try:
        cached = Path(snapshot_download(name, allow_patterns=FILES, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        cached = None
    if cached is not None and _is_whole(cached):
        return cached
    _ask_hub(name)
    return Path(snapshot_download(name, allow_patterns=FILES))


def _is_whole(folder: Path) -> bool:
    """Whether a download was not cut short: the configuration and all weights are there."""
    index = folder / "model.safetensors.index.json"
    weights = (
        set(json.loads(index.read_text("utf-8"))["weight_map"].values()) if index.is_file() else {"model.safetensors"}
    )
    return all((folder / file).is_file() for file in ("config.json", *weights))


def _ask_hub(name: str) -> None:
    """Ask once whether the Hub has the model. transformers would retry for most of a minute without a network."""
    offline = f"{name!r} is not in the cache and the Hub cannot be reached: connect, or give a folder"
    missing = f"no model {name!r}: not embedded ({', '.join(EMBEDDED)}), no such folder here, and not on the Hub"
    try:
        HfApi().model_info(name, timeout=HUB_TIMEOUT_SECONDS)
    except HFValidationError as error:
        raise ModelNotFound(missing) from error
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403, 404):
            raise ModelNotFound(f"{missing} (or it is private: `hf auth login`)") from error
        raise NoNetwork(f"the Hub answered {error.response.status_code} for {name!r}: try again later") from error
    except (httpx2.HTTPError, OSError) as error:
        raise NoNetwork(f"{offline} ({_first_line(error)})") from error


def _device(device: str) -> torch.device:
    if device == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator or torch.device("cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SettingError(f"no device {device!r} here: {_first_line(error)}") from error
    return chosen


def _dtype(dtype: str, device: torch.device) -> torch.dtype | None:
    """The precision to cast to, or None for the checkpoint's own."""
    names = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else None
    if dtype not in names:
        raise SettingError(f"unknown precision {dtype!r}: one of auto, {', '.join(names)}")
    return names[dtype]


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
