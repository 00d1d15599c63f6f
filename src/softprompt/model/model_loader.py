"""Load a frozen model: a bundled model by name, any other by path or Hub id."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from softprompt.errors import ModelNotFound, SettingError, is_out_of_memory_error, summarize_error
from softprompt.gc_pause import pause_gc
from softprompt.model.causal_model import CausalModel
from softprompt.model.checkpoint_info import read_checkpoint_info
from softprompt.model.device_dtype import (
    disable_inference_repacking,
    make_quantization_config,
    resolve_device,
    resolve_dtype,
)
from softprompt.model.encoder_decoder_model import EncoderDecoderModel
from softprompt.model.family import resolve_family
from softprompt.model.frozen_model import FrozenModel
from softprompt.model.masked_model import MaskedModel
from softprompt.model.model_files import ModelFiles, resolve_model_files
from softprompt.model.model_shape import ModelKind
from softprompt.model.pretrained_files import read_config, read_network, read_tokenizer
from softprompt.model.silence_transformers import silence_transformers
from softprompt.model.weight_checks import check_weights

MODEL_CLASSES: dict[ModelKind, Callable[[PreTrainedModel, PreTrainedTokenizerBase, str], FrozenModel]] = {
    ModelKind.CAUSAL: CausalModel,
    ModelKind.MASKED: MaskedModel,
    ModelKind.ENCODER_DECODER: EncoderDecoderModel,
}


@pause_gc()
def load_model(name: str, *, device: str = "auto", dtype: str = "auto", sharded: bool = False) -> FrozenModel:
    """Load a base model and freeze it.

    Args:
        name: `smollm2-135m`, a folder, a `.gguf` file, or a Hub id.
        device: `auto` (the accelerator if there is one), or a torch device: `cpu`, `cuda`, `cuda:1`, `mps`.
        dtype: `auto` (float32 on the CPU, elsewhere the checkpoint's own), `float32`, `bfloat16`, `float16`, or
            quantized by bitsandbytes: `int8`, `nf4`.
        sharded: shard each layer over the processes of this training.

    Raises:
        ModelNotFound: no such folder, file, Hub id or bundled model.
        ModelNotSupported: the family would give wrong results.
        IncompleteModel: the files lack weights of the layers, or do not match the configuration. A model without a
            language-modeling head loads; uses of the head raise this error.
        HubUnreachable: the Hub cannot be reached and the model is not in the cache.
        SettingError: unknown device or precision, or the model cannot be sharded.
    """
    target = resolve_device(device)
    precision = resolve_dtype(dtype, target)
    quantized = make_quantization_config(dtype, precision)
    files = resolve_model_files(name)
    if quantized is not None:
        if sharded:
            raise SettingError(f'`dtype="{dtype}"`: quantised weights are not spread over processes, leave out FSDP')
        arguments = {"dtype": precision or "auto", "quantization_config": quantized, "device_map": {"": target}}
        return _load_quantized(files, name, dtype, **arguments)
    model = _load_frozen_model(files, name, dtype="auto")
    _ = model.fingerprint  # computed before the cast: rounding to float16 would change it
    if sharded:
        model.network.to(dtype=precision or model.dtype)
        model.apply_fsdp(target)
        return model
    torch.nn.Module.to(model.network, device=target, dtype=precision or model.dtype)
    return model


def _load_quantized(model_files: ModelFiles, name: str, precision: str, **arguments: Any) -> FrozenModel:
    """Load a model whose weights are quantized as they are read; its fingerprint is that of the files."""
    fingerprint, num_parameters = _read_unquantized_identity(model_files, name)
    model = _load_frozen_model(model_files, name, **arguments)
    model.fingerprint, model.num_parameters, model.precision = fingerprint, num_parameters, precision
    return model


def _read_unquantized_identity(model_files: ModelFiles, name: str) -> tuple[str, int]:
    """Read fingerprint and number of parameters from the files, or else from the unquantized model."""
    try:
        checkpoint = read_checkpoint_info(model_files.folder)
    except SettingError:
        model = _load_frozen_model(model_files, name, dtype="auto")
        return model.fingerprint, model.num_parameters
    return checkpoint.fingerprint, checkpoint.num_parameters


def _load_frozen_model(model_files: ModelFiles, name: str, **arguments: Any) -> FrozenModel:
    with silence_transformers(), _translate_loading_errors(name):
        config = read_config(model_files.folder)
        tokenizer = read_tokenizer(model_files.folder)
        network, loading_info = read_network(
            config, model_files.folder, output_loading_info=True, ignore_mismatched_sizes=True, **arguments
        )
    missing_head = check_weights(network, loading_info, name)
    disable_inference_repacking(network)
    model = freeze_network(network, tokenizer, model_files.name)
    model.missing_head_weights = missing_head
    return model


@contextmanager
def _translate_loading_errors(name: str) -> Iterator[None]:
    """Translate errors of transformers and safetensors for unreadable files into `ModelNotFound`."""
    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as error:
        if is_out_of_memory_error(error):
            raise
        raise ModelNotFound(f"{name!r} cannot be loaded as a language model: {summarize_error(error)}") from error


def freeze_network(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> FrozenModel:
    """Freeze a network that is in memory.

    Raises:
        ModelNotSupported: the family would give wrong results.
    """
    return MODEL_CLASSES[resolve_family(network.config).kind](network, tokenizer, name)
