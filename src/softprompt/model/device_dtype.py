"""Device, precision and quantization of a model's weights, by the names that users pass."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from softprompt.errors import SettingError, summarize_error

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

#: LLM.int8() (Dettmers et al. 2022, arXiv 2208.07339) and 4-bit NormalFloat (Dettmers et al. 2023, arXiv 2305.14314).
QUANTIZATION_CONFIGS: dict[str, Callable[[torch.dtype], BitsAndBytesConfig]] = {
    "int8": lambda _: BitsAndBytesConfig(load_in_8bit=True),
    "nf4": lambda dtype: BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype),
}


def resolve_device(device: str) -> torch.device:
    """Return the device of this name; `auto` is the accelerator if there is one, else the CPU.

    Raises:
        SettingError: the device is not available.
    """
    if device == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator or torch.device("cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SettingError(f"no device {device!r} here: {summarize_error(error)}") from error
    return chosen


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype | None:
    """Return the dtype that weights are cast to, or that quantized weights compute in; None for the checkpoint's own.

    Raises:
        SettingError: the precision is unknown.
    """
    if dtype in DTYPES:
        return DTYPES[dtype]
    if dtype == "auto" or dtype in QUANTIZATION_CONFIGS:
        return torch.float32 if device.type == "cpu" else None
    raise SettingError(f"unknown precision {dtype!r}: one of auto, {', '.join([*DTYPES, *QUANTIZATION_CONFIGS])}")


def make_quantization_config(dtype: str, compute_dtype: torch.dtype | None) -> BitsAndBytesConfig | None:
    """Make the configuration for a quantized precision; None for any other precision.

    Raises:
        SettingError: bitsandbytes is not installed.
    """
    if dtype not in QUANTIZATION_CONFIGS:
        return None
    if importlib.util.find_spec("bitsandbytes") is None:
        raise SettingError(f"{dtype} needs bitsandbytes: pip install 'softprompt[quantized]'")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it logs every cast of every layer in every step
    return QUANTIZATION_CONFIGS[dtype](compute_dtype or torch.bfloat16)


def disable_inference_repacking(network: nn.Module) -> None:
    """Prevent 4-bit layers from repacking their weights for a faster CPU kernel that has no gradient.

    They would do so in the first forward pass without gradient, such as an evaluation, and never undo it.
    """
    for module in network.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            vars(module)["support_avx512bf16_for_cpu"] = False
