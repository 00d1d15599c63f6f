"""The model that vLLM runs, as far as a prompt must fit it; told by its files, without loading it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from softprompt.errors import BaseModelMismatch, PeftExportError, SettingError
from softprompt.model import KVPrefix
from softprompt.model.checkpoint_info import read_fingerprint
from softprompt.model.model_files import DOWNLOAD_PATTERNS
from softprompt.saved import SavedPrompt
from softprompt.vllm_protocol import PLUGIN_NAME


@dataclass(frozen=True)
class ServedModel:
    """A running model.

    Attributes:
        name: what it was started as.
        fingerprint: names its weights.
        num_layers: L.
        num_kv_heads: G, of all workers together.
        head_dim: D.
    """

    name: str
    fingerprint: str
    num_layers: int
    num_kv_heads: int
    head_dim: int

    def require_prefix(self, prompt: SavedPrompt) -> KVPrefix:
        """The prefix of a prompt that was made for this model.

        Raises:
            BaseModelMismatch: it was made for another.
            PeftExportError: it holds embeddings.
        """
        made_for = prompt.manifest.base
        if made_for.fingerprint != self.fingerprint:
            raise BaseModelMismatch(
                f"this prompt was made for {made_for.name} ({made_for.fingerprint}), "
                f"and this server runs {self.name} ({self.fingerprint})"
            )
        prefix = prompt.payload
        if not isinstance(prefix, KVPrefix):
            raise PeftExportError(
                "this prompt holds embeddings, and vLLM is given keys and values: add it compiled, "
                f"`{PLUGIN_NAME} prompts add … --compile MODEL`"
            )
        L, _, G, _, D = prefix.tensor.shape
        if (self.num_layers, self.num_kv_heads, self.head_dim) != (L, G, D):
            raise BaseModelMismatch(
                f"this prompt's keys and values do not fit {self.name}: {tuple(prefix.tensor.shape)}"
            )
        return prefix


def resolve_model_fingerprint(model: str, revision: str | None = None, cache_dir: str | None = None) -> str:
    """The fingerprint of a model that vLLM has loaded.

    Args:
        model: a folder or a Hub id.
        revision: of the Hub's repository.
        cache_dir: cache folder of the Hub; None for the default.

    Raises:
        SettingError: its files do not tell.
    """
    folder = Path(model)
    if not folder.is_dir():
        try:
            folder = Path(
                snapshot_download(
                    model,
                    revision=revision,
                    cache_dir=cache_dir,
                    allow_patterns=DOWNLOAD_PATTERNS,
                    local_files_only=True,
                )
            )
        except (LocalEntryNotFoundError, HFValidationError, OSError) as error:
            raise SettingError(
                f"the files of {model} are not found, to know its fingerprint by: give it in "
                'kv_connector_extra_config, {"fingerprint": "sha256:…"}'
            ) from error
    return read_fingerprint(folder)
