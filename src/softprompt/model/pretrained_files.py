"""Read a model's files with transformers, and never run code that comes with them.

Every family that is supported has its code in transformers itself, so no model needs any of its own. The family is
looked up in `config.json` before transformers sees the folder: transformers would ask on the terminal whether to run
custom code, and take the answer from whatever is piped in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from softprompt.errors import ModelNotSupported
from softprompt.model.auto_classes import AUTO_CLASSES
from softprompt.model.family import check_model_type, resolve_family

#: Arguments that keep transformers' classes from running code in a model's folder.
NO_CUSTOM_CODE: dict[str, Any] = {"trust_remote_code": False}
#: Suffixes of the configuration's keys that may name a repository with code.
_HUB_CODE_KEY_SUFFIXES = ("_implementation", "_implementation_internal")


def read_config(folder: Path, **arguments: Any) -> PreTrainedConfig:
    """Read the configuration in a folder, and check that the family is supported.

    Args:
        folder: folder with the model's files.
        arguments: further arguments for transformers; with a `gguf_file`, the folder's `config.json` is not checked.

    Raises:
        ModelNotSupported: the family is not supported, or the files name code on the Hub.
        OSError, ValueError: the configuration cannot be read.
    """
    if "gguf_file" not in arguments:
        _check_config_file(folder)
    config: PreTrainedConfig = AutoConfig.from_pretrained(folder, **NO_CUSTOM_CODE, **arguments)
    resolve_family(config)
    return config


def read_tokenizer(folder: Path, **arguments: Any) -> PreTrainedTokenizerBase:
    """Read the tokenizer in a folder.

    Raises:
        ModelNotSupported: the tokenizer needs custom code.
        OSError, ValueError: the tokenizer cannot be read.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, **NO_CUSTOM_CODE, **arguments)
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise ModelNotSupported(f"the tokenizer in {folder} needs code of its own, which is never run") from error
    return tokenizer


def read_network(config: PreTrainedConfig, folder: Path, **arguments: Any) -> Any:
    """Read the network in a folder with its weights; with `output_loading_info=True`, return also the loading info.

    Raises:
        OSError, ValueError: the weights cannot be read.
    """
    return AUTO_CLASSES[resolve_family(config).kind].from_pretrained(folder, **NO_CUSTOM_CODE, **arguments)


def make_network(config: PreTrainedConfig, **arguments: Any) -> Any:
    """Make a network with the sizes of a configuration and random weights."""
    return AUTO_CLASSES[resolve_family(config).kind].from_config(config, **NO_CUSTOM_CODE, **arguments)


def _check_config_file(folder: Path) -> None:
    """Check the family in `config.json` before transformers sees the file.

    Raises:
        ModelNotSupported: see `read_config`.
    """
    file = folder / "config.json"
    if not file.is_file():
        return  # transformers raises the error
    fields = json.loads(file.read_text("utf-8"))
    if not isinstance(fields, dict):
        raise ValueError(f"{file} holds no object")
    if "model_type" in fields:
        check_model_type(str(fields["model_type"]), has_custom_code="auto_map" in fields)
    elif "auto_map" in fields:
        raise ModelNotSupported(f"{file} names no model type, but code of its own, which is never run")
    if wrong := next(_find_hub_code(fields), None):
        raise ModelNotSupported(f"{file} asks for code of the Hub ({wrong}), which is never run: take that line out")


def _find_hub_code(fields: dict[str, Any]) -> Iterator[str]:
    """Yield settings that name a repository with code, such as an attention kernel, also of nested configurations."""
    for name, value in fields.items():
        values = value.values() if isinstance(value, dict) else [value]
        if name.endswith(_HUB_CODE_KEY_SUFFIXES) and any("/" in str(setting) for setting in values):
            yield f"{name}: {value!r}"
        elif isinstance(value, dict):
            yield from _find_hub_code(value)
