"""The properties of vLLM's model that a prompt must fit, read from the model's files without loading them."""

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
from softprompt.saved.manifest import Manifest


@dataclass(frozen=True)
class ServedModel:
    """The model that vLLM runs.

    Attributes:
        name: name that vLLM was started with.
        fingerprint: hash of the weights.
        num_layers: L.
        num_kv_heads: G, over all workers.
        head_dim: D.
    """

    name: str
    fingerprint: str
    num_layers: int
    num_kv_heads: int
    head_dim: int

    def require_prefix(self, prompt: SavedPrompt) -> KVPrefix:
        """Return the prefix of a prompt, `[L, 2, G, P, D]`.

        Raises:
            BaseModelMismatch: the prompt belongs to another model.
            PeftExportError: the prompt's payload is embeddings.
        """
        self.check_manifest(prompt.manifest)
        assert isinstance(prompt.payload, KVPrefix)  # its shape is that of the manifest
        return prompt.payload

    def check_manifest(self, manifest: Manifest) -> None:
        """Check by its manifest that a prompt can be served.

        Raises:
            BaseModelMismatch: the prompt belongs to another model.
            PeftExportError: the prompt's payload is embeddings.
        """
        base, shape = manifest.base, manifest.base.shape
        if base.fingerprint != self.fingerprint:
            raise BaseModelMismatch(
                f"the prompt was trained for {base.name} ({base.fingerprint}), but this server runs {self.name} "
                f"({self.fingerprint})"
            )
        if manifest.payload != "prefix":
            raise PeftExportError(
                "the prompt contains embeddings, but vLLM needs keys and values: add the prompt compiled, with "
                "`softprompt prompts add … --compile MODEL`"
            )
        sizes = shape.num_layers, shape.num_kv_heads, shape.head_dim
        if sizes != (self.num_layers, self.num_kv_heads, self.head_dim):
            raise BaseModelMismatch(
                f"the prompt's keys and values have (layers, KV heads, head dimensions) {sizes}, which do not fit "
                f"{self.name}, with {(self.num_layers, self.num_kv_heads, self.head_dim)}"
            )


def resolve_model_fingerprint(model: str, revision: str | None = None, cache_dir: str | None = None) -> str:
    """Compute the fingerprint of a model that vLLM has loaded.

    Args:
        model: folder or Hub id.
        revision: revision of the Hub repository.
        cache_dir: cache folder of the Hub; None for the default.

    Raises:
        SettingError: the files are missing, or have no fingerprint.
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
                f"the files of {model}, which determine its fingerprint, are not found: set the fingerprint in "
                'kv_connector_extra_config, {"fingerprint": "sha256:…"}'
            ) from error
    return read_fingerprint(folder)
