"""A GGUF file as a folder that transformers reads: the weights de-quantised to float32, tensor by tensor.

It is parsed once, and no more of the weights is in memory than one shard of the folder. Does not know where folders are
kept.
"""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import gguf
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel, modeling_gguf_pytorch_utils

from softprompt.errors import ModelNotFound, ModelNotSupported, summarize_error
from softprompt.model.pretrained_files import make_network, read_config, read_tokenizer
from softprompt.model.silence_transformers import silence_transformers

SHARD_BYTES = 2**30  # bytes of weights that are collected before they are written
_END_OF_TURN_KEYS = (
    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.eom_token_id",
)  # beside EOS, they end a response as well

_patch_lock = threading.Lock()

ProgressCallback = Callable[[int, int], None]
"""Called after each tensor with the bytes that are written, and those that will be."""


class _FastGGUFReader(gguf.GGUFReader):
    """gguf's reader, several times as fast: a memory map looks after itself at each of a million slices."""

    def _get(self, *args: Any, **kwargs: Any) -> Any:
        self.data: Any = np.asarray(self.data)
        return super()._get(*args, **kwargs)


class GGUFFile:
    """A parsed GGUF file.

    Attributes:
        path: where it is.
        num_bytes: what its weights take in float32.

    Raises:
        ModelNotFound: it is no GGUF file, it is cut short, or it is one part of several.
    """

    def __init__(self, path: Path):
        self.path = path
        with _translate_gguf_errors(path):
            self._reader = _FastGGUFReader(path)
            if self._get_metadata("split.count", 1) > 1:
                raise ValueError(
                    f"it is part {self._get_metadata('split.no', 0) + 1} of {self._get_metadata('split.count', 1)}; "
                    "merge them with `llama-gguf-split --merge`"
                )
            with _patch_attribute(gguf, "GGUFReader", lambda *_: self._reader):
                self._parsed_checkpoint = modeling_gguf_pytorch_utils.load_gguf_checkpoint(str(path))
        self.num_bytes = sum(4 * int(tensor.n_elements) for tensor in self._reader.tensors)

    def unpack_to_folder(self, folder: Path, on_progress: ProgressCallback) -> None:
        """Write configuration, tokenizer, generation configuration and weights into a new folder.

        Raises:
            ModelNotFound: transformers cannot read this kind of file.
            ModelNotSupported: a family whose answers would be wrong.
            OSError: the folder cannot be written.
        """
        with silence_transformers(), _translate_gguf_errors(self.path):
            with _patch_attribute(modeling_gguf_pytorch_utils, "load_gguf_checkpoint", self._copy_parsed_checkpoint):
                arguments: dict[str, Any] = {"gguf_file": self.path.name}
                config = read_config(self.path.parent, **arguments)
                tokenizer = read_tokenizer(self.path.parent, **arguments)
            with torch.device("meta"):
                network: PreTrainedModel = make_network(config, dtype=torch.float32)
            names = modeling_gguf_pytorch_utils.get_gguf_hf_weights_map(network, self._make_tensor_processor())
        folder.mkdir(parents=True)
        network.config.architectures = [type(network).__name__]
        network.config.save_pretrained(folder)
        self._build_generation_config(network).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        _write_shards(folder, self._iterate_tensors(names, on_progress))

    def _get_metadata(self, name: str, default: Any) -> Any:
        """A single value of the file's metadata."""
        field = self._reader.fields.get(name)
        return default if field is None else field.contents()

    def _copy_parsed_checkpoint(self, *_: Any, **__: Any) -> dict[str, dict[str, Any]]:
        """What transformers' reader would parse once more; it changes the parts of what it is given."""
        return {part: dict(values) for part, values in self._parsed_checkpoint.items()}

    def _make_tensor_processor(self) -> Any:
        """Transformers' conversion of this architecture's tensors to its own layout."""
        processors = modeling_gguf_pytorch_utils.TENSOR_PROCESSORS
        architecture = self._get_metadata("general.architecture", "")
        processor: Any = processors.get(architecture, modeling_gguf_pytorch_utils.TensorProcessor)
        return processor(config=self._parsed_checkpoint["config"])

    def _build_generation_config(self, network: PreTrainedModel) -> Any:
        """The generation configuration, with every token that ends a response."""
        config = network.generation_config
        first = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        others = [self._get_metadata(name, None) for name in _END_OF_TURN_KEYS]
        ends = list(dict.fromkeys(token for token in [*first, *others] if token is not None))
        config.eos_token_id = ends[0] if len(ends) == 1 else ends or None
        return config

    def _iterate_tensors(self, name_map: dict[str, str], on_progress: ProgressCallback) -> Iterator[tuple[str, Tensor]]:
        """The weights under transformers' names."""
        processor, done = self._make_tensor_processor(), 0
        for tensor in self._reader.tensors:
            aside: dict[str, dict[str, Tensor]] = {"tensors": {}}  # where a processor puts what it names itself
            with _translate_gguf_errors(self.path):
                weights = gguf.dequantize(tensor.data, tensor.tensor_type)
                result = processor.process(
                    weights=weights, name=tensor.name, tensor_key_mapping=name_map, parsed_parameters=aside
                )
            yield from aside["tensors"].items()
            if result.name in name_map:
                yield name_map[result.name], torch.from_numpy(np.require(result.weights, requirements=["C", "W"]))
            done += 4 * int(tensor.n_elements)
            on_progress(done, self.num_bytes)


def _write_shards(folder: Path, tensors: Iterator[tuple[str, Tensor]]) -> None:
    """Write weights as safetensors of a limited size, and the index of which file has which."""
    places: dict[str, str] = {}
    shard: dict[str, Tensor] = {}
    total, number = 0, 1

    def flush_shard() -> None:
        nonlocal shard, number
        file = f"model-{number:05}.safetensors"
        _save_shard(shard, folder / file)
        places.update(dict.fromkeys(shard, file))
        shard, number = {}, number + 1

    for name, tensor in tensors:
        shard[name] = tensor
        total += tensor.nbytes
        if sum(each.nbytes for each in shard.values()) >= SHARD_BYTES:
            flush_shard()
    if shard:
        flush_shard()
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")


def _save_shard(tensors: dict[str, Tensor], path: Path) -> None:
    """Write one file; safetensors does not say as Python does that a disk is full."""
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:
        if f"os error {errno.ENOSPC}" in str(error) or "No space left" in str(error):
            raise OSError(errno.ENOSPC, str(error)) from error
        raise


@contextmanager
def _patch_attribute(module: ModuleType, name: str, value: Any) -> Iterator[None]:
    """Inside, a module's function is another one: transformers would parse the whole file at each of its calls."""
    with _patch_lock:
        before = getattr(module, name)
        setattr(module, name, value)
        try:
            yield
        finally:
            setattr(module, name, before)


@contextmanager
def _translate_gguf_errors(path: Path) -> Iterator[None]:
    """Turn what readers raise over a file that they cannot read into one error."""
    try:
        yield
    except ModelNotSupported:
        raise
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, NotImplementedError) as error:
        raise ModelNotFound(
            f"{path} cannot be read as a GGUF model: {summarize_error(error)} (is the file whole, and of a model?)"
        ) from error
