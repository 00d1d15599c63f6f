"""Convert a GGUF file to a folder that transformers reads, with the weights dequantized to float32, tensor by tensor.

The file is parsed once, and at most one shard of the folder's weights is in memory.
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

SHARD_BYTES = 2**30  # size at which collected weights are written
#: Keys of tokens that end a response besides EOS: the ends of a turn and of a message.
_END_OF_TURN_KEYS = ("tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")

_patch_lock = threading.Lock()

ProgressCallback = Callable[[int, int], None]
"""Called after each tensor with the number of bytes written so far, and in total."""


class _FastGGUFReader(gguf.GGUFReader):
    """A several times faster reader of gguf: slicing a plain array avoids the bookkeeping of a memory map."""

    def _get(self, *args: Any, **kwargs: Any) -> Any:
        self.data: Any = np.asarray(self.data)
        return super()._get(*args, **kwargs)


class GGUFFile:
    """A parsed GGUF file.

    Attributes:
        path: path of the file.
        num_bytes: size of the weights in float32.

    Raises:
        ModelNotFound: the file is not a GGUF file, is truncated, or is one part of several.
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
            ModelNotSupported: the family would give wrong results.
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
        """Return a value of the file's metadata."""
        field = self._reader.fields.get(name)
        return default if field is None else field.contents()

    def _copy_parsed_checkpoint(self, *_: Any, **__: Any) -> dict[str, dict[str, Any]]:
        """Return a copy of the parsed file, instead of parsing it again; transformers changes the parts in place."""
        return {part: dict(values) for part, values in self._parsed_checkpoint.items()}

    def _make_tensor_processor(self) -> Any:
        """Make transformers' converter of this architecture's tensors to its own layout."""
        processors = modeling_gguf_pytorch_utils.TENSOR_PROCESSORS
        architecture = self._get_metadata("general.architecture", "")
        processor: Any = processors.get(architecture, modeling_gguf_pytorch_utils.TensorProcessor)
        return processor(config=self._parsed_checkpoint["config"])

    def _build_generation_config(self, network: PreTrainedModel) -> Any:
        """Return the network's generation configuration with all tokens that end a response."""
        config = network.generation_config
        first = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        others = [self._get_metadata(name, None) for name in _END_OF_TURN_KEYS]
        ends = list(dict.fromkeys(token for token in [*first, *others] if token is not None))
        config.eos_token_id = ends[0] if len(ends) == 1 else ends or None
        return config

    def _iterate_tensors(self, name_map: dict[str, str], on_progress: ProgressCallback) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights under transformers' names."""
        processor, done = self._make_tensor_processor(), 0
        for tensor in self._reader.tensors:
            renamed: dict[str, dict[str, Tensor]] = {"tensors": {}}  # filled by processors that choose their own names
            with _translate_gguf_errors(self.path):
                weights = gguf.dequantize(tensor.data, tensor.tensor_type)
                result = processor.process(
                    weights=weights, name=tensor.name, tensor_key_mapping=name_map, parsed_parameters=renamed
                )
            yield from renamed["tensors"].items()
            if result.name in name_map:
                yield name_map[result.name], torch.from_numpy(np.require(result.weights, requirements=["C", "W"]))
            done += 4 * int(tensor.n_elements)
            on_progress(done, self.num_bytes)


def _write_shards(folder: Path, tensors: Iterator[tuple[str, Tensor]]) -> None:
    """Write weights as safetensors files of limited size, and the index of the file of each weight."""
    weight_map: dict[str, str] = {}
    shard: dict[str, Tensor] = {}
    total, number = 0, 1

    def flush_shard() -> None:
        nonlocal shard, number
        file = f"model-{number:05}.safetensors"
        _save_shard(shard, folder / file)
        weight_map.update(dict.fromkeys(shard, file))
        shard, number = {}, number + 1

    for name, tensor in tensors:
        shard[name] = tensor
        total += tensor.nbytes
        if sum(weight.nbytes for weight in shard.values()) >= SHARD_BYTES:
            flush_shard()
    if shard:
        flush_shard()
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")


def _save_shard(tensors: dict[str, Tensor], path: Path) -> None:
    """Write one file; a full disk raises `OSError` as in Python, and not safetensors' own error."""
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:
        if f"os error {errno.ENOSPC}" in str(error) or "No space left" in str(error):
            raise OSError(errno.ENOSPC, str(error)) from error
        raise


@contextmanager
def _patch_attribute(module: ModuleType, name: str, value: Any) -> Iterator[None]:
    """Replace a module's attribute inside the `with` block.

    transformers parses the whole file in each call of such a function, and takes no parsed file as argument.
    """
    with _patch_lock:
        original = getattr(module, name)
        setattr(module, name, value)
        try:
            yield
        finally:
            setattr(module, name, original)


@contextmanager
def _translate_gguf_errors(path: Path) -> Iterator[None]:
    """Translate errors of gguf and transformers for unreadable files into `ModelNotFound`."""
    try:
        yield
    except ModelNotSupported:
        raise
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, NotImplementedError) as error:
        raise ModelNotFound(
            f"{path} cannot be read as a GGUF model: {summarize_error(error)} (is the file whole, and of a model?)"
        ) from error
