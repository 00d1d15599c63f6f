"""Load a frozen model: the embedded one by its name, any other by a path or its Hub id."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from softprompt.collection_pause import pause_collection
from softprompt.errors import ModelNotFound, SettingError, first_line, is_out_of_memory
from softprompt.model.causal import CausalModel
from softprompt.model.checkpoint import read_checkpoint
from softprompt.model.encoder_decoder import EncoderDecoderModel
from softprompt.model.family import resolve
from softprompt.model.frozen import FrozenModel
from softprompt.model.locating import Located, located
from softprompt.model.masked import MaskedModel
from softprompt.model.precision import device_named, dtype_named, keep_gradients, quantization
from softprompt.model.pretrained import read_config, read_network, read_tokenizer
from softprompt.model.quiet import quiet
from softprompt.model.shape import Kind
from softprompt.model.weights import check_weights

KINDS: dict[Kind, type[FrozenModel]] = {
    Kind.CAUSAL: CausalModel,
    Kind.MASKED: MaskedModel,
    Kind.ENCODER_DECODER: EncoderDecoderModel,
}


@pause_collection()
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
        IncompleteModel: its files lack weights of its layers, or hold others than its configuration says. One without
            a word head alone loads, and refuses when words are asked for.
        NoNetwork: the Hub cannot be reached and the model was never downloaded.
        SettingError: no such device or precision, or a model that cannot be sharded.
    """
    target = device_named(device)
    precision = dtype_named(dtype, target)
    quantized = quantization(dtype, precision)
    files = located(name)
    if quantized is not None:
        if sharded:
            raise SettingError(f'`dtype="{dtype}"`: quantised weights are not spread over processes, leave out FSDP')
        how = {"dtype": precision or "auto", "quantization_config": quantized, "device_map": {"": target}}
        return _quantized(files, name, dtype, **how)
    model = _read(files, name, dtype="auto")
    _ = model.fingerprint  # taken before the weights are cast: rounding to float16 would give another
    if sharded:
        model.network.to(dtype=precision or model.dtype)
        model.shard(target)
        return model
    torch.nn.Module.to(model.network, device=target, dtype=precision or model.dtype)
    return model


def _quantized(files: Located, name: str, precision: str, **arguments: Any) -> FrozenModel:
    """A model whose weights are quantised one by one as they are read; the fingerprint is that of the files."""
    fingerprint, num_parameters = _unquantized(files, name)
    model = _read(files, name, **arguments)
    model.fingerprint, model.num_parameters, model.precision = fingerprint, num_parameters, precision
    return model


def _unquantized(files: Located, name: str) -> tuple[str, int]:
    """The fingerprint and size of a model that is not quantised; it is loaded for them where its files do not tell."""
    try:
        checkpoint = read_checkpoint(files.folder)
    except SettingError:
        model = _read(files, name, dtype="auto")
        return model.fingerprint, model.num_parameters
    return checkpoint.fingerprint, checkpoint.num_parameters


def _read(files: Located, name: str, **arguments: Any) -> FrozenModel:
    with quiet(), _understandable_errors(name):
        config = read_config(files.folder)
        tokenizer = read_tokenizer(files.folder)
        network, found = read_network(
            config, files.folder, output_loading_info=True, ignore_mismatched_sizes=True, **arguments
        )
    missing_head = check_weights(network, found, name)
    keep_gradients(network)
    model = frozen(network, tokenizer, files.name)
    model.missing_head = missing_head
    return model


@contextmanager
def _understandable_errors(name: str) -> Iterator[None]:
    """Turn what transformers and safetensors raise over files that they cannot read into one error."""
    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise ModelNotFound(f"{name!r} cannot be loaded as a language model: {first_line(error)}") from error


def frozen(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> FrozenModel:
    """A network that is in memory already, frozen.

    Raises:
        ModelNotSupported: a family whose answers would be wrong.
    """
    return KINDS[resolve(network.config).kind](network, tokenizer, name)
