"""Load a frozen model: the embedded one by its name, any other by a path or its Hub id."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from softprompt.errors import ModelNotFound, SettingError, first_line
from softprompt.model.causal import CausalModel
from softprompt.model.encoder_decoder import EncoderDecoderModel
from softprompt.model.family import resolve
from softprompt.model.frozen import FrozenModel
from softprompt.model.locating import Located, located
from softprompt.model.masked import MaskedModel
from softprompt.model.precision import device_named, dtype_named, keep_gradients, quantization
from softprompt.model.quiet import quiet
from softprompt.model.shape import Kind

AUTO = {
    Kind.CAUSAL: AutoModelForCausalLM,
    Kind.MASKED: AutoModelForMaskedLM,
    Kind.ENCODER_DECODER: AutoModelForSeq2SeqLM,
}
KINDS: dict[Kind, type[FrozenModel]] = {
    Kind.CAUSAL: CausalModel,
    Kind.MASKED: MaskedModel,
    Kind.ENCODER_DECODER: EncoderDecoderModel,
}


def load_model(name: str, *, device: str = "auto", dtype: str = "auto", sharded: bool = False) -> FrozenModel:
    """Load a base model and freeze it.

    Args:
        name: `smollm2-135m`, a folder, a `.gguf` file, or a Hub id.
        device: `auto` (the accelerator if there is one), or torch's name of it: `cpu`, `cuda`, `cuda:1`, `mps`.
        dtype: `auto` (float32 on the CPU, elsewhere the checkpoint's own), `float32`, `bfloat16`, `float16`, or
            quantised by bitsandbytes: `int8`, `nf4`.
        sharded: keep a part of each layer here, the others in the processes that run with this one.

    Raises:
        ModelNotFound: no such folder, file, Hub id or embedded model.
        ModelNotSupported: a family whose answers would be wrong.
        NoNetwork: the Hub cannot be reached and the model was never downloaded.
        SettingError: no such device or precision, or a model that cannot be sharded.
    """
    target = device_named(device)
    precision = dtype_named(dtype, target)
    quantized = quantization(dtype, precision)
    files = located(name)
    model = _read(files, name, dtype="auto")
    fingerprint = model.fingerprint  # taken before the weights are cast: rounding to float16 would give another
    if sharded:
        if quantized is not None:
            raise SettingError(f"`dtype={dtype!r}`: quantised weights are not spread over processes, leave out FSDP")
        model.network.to(dtype=precision or model.dtype)
        model.shard(target)
        return model
    if quantized is None:
        torch.nn.Module.to(model.network, device=target, dtype=precision or model.dtype)
        return model
    rounded = _read(files, name, dtype=precision or "auto", quantization_config=quantized, device_map={"": target})
    rounded.fingerprint, rounded.num_parameters, rounded.precision = fingerprint, model.num_parameters, dtype
    return rounded


def _read(files: Located, name: str, **arguments: Any) -> FrozenModel:
    with quiet():
        try:
            auto = AUTO[resolve(AutoConfig.from_pretrained(files.folder, **files.arguments)).kind]
            tokenizer = AutoTokenizer.from_pretrained(files.folder, **files.arguments)
            network = auto.from_pretrained(files.folder, **files.arguments, **arguments)
        except (OSError, ValueError, KeyError) as error:
            raise ModelNotFound(f"{name!r} cannot be loaded as a language model: {first_line(error)}") from error
    keep_gradients(network)
    return frozen(network, tokenizer, files.name)


def frozen(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> FrozenModel:
    """A network that is in memory already, frozen.

    Raises:
        ModelNotSupported: a family whose answers would be wrong.
    """
    return KINDS[resolve(network.config).kind](network, tokenizer, name)
