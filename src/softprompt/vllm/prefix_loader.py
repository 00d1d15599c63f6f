"""Loads and validates prompts of the artifact store by their digests."""

from __future__ import annotations

from functools import lru_cache

from softprompt.errors import SettingError
from softprompt.model import KVPrefix
from softprompt.registry.integrity import load_prompt_artifact, load_prompt_manifest
from softprompt.registry.locations import resolve_artifact_store
from softprompt.vllm.served_model import ServedModel
from softprompt.vllm_protocol import PromptTransferParams

MAX_VALIDATED_PROMPTS = 100_000  # prompts whose number of positions is cached


class PrefixLoader:
    """Loader of prompts for a running model.

    Args:
        artifact_location: folder or URL of the artifact store.
        served_model: the running model.
    """

    def __init__(self, artifact_location: str, served_model: ServedModel):
        self._artifacts, self._served_model = resolve_artifact_store(artifact_location), served_model

    def load_prefix(self, digest: str) -> KVPrefix:
        """Load the prefix of a prompt, `[L, 2, G, P, D]`.

        Raises:
            CorruptPrompt: the prompt is missing or damaged.
            BaseModelMismatch: the prompt belongs to another model.
            PeftExportError: the prompt's payload is embeddings.
        """
        return self._served_model.require_prefix(load_prompt_artifact(self._artifacts, digest))

    def count_positions(self, digest: str) -> int:
        """Return the number of positions of a prompt's prefix from its manifest; of its tensors only the hash is read.

        Raises:
            CorruptPrompt: the prompt is missing or damaged.
            BaseModelMismatch: the prompt belongs to another model.
            PeftExportError: the prompt's payload is embeddings.
        """
        manifest = load_prompt_manifest(self._artifacts, digest)
        self._served_model.check_manifest(manifest)
        return manifest.num_virtual_tokens + manifest.has_bos


class PromptValidator:
    """Validator of the prompts of requests, with a cache of the most recent results.

    It runs in the thread of vLLM's HTTP server, where no response is sent meanwhile. So it parses no tensors; workers
    check them when they load a prompt.

    Args:
        loader: reads prompts.
        capacity: maximum number of cached results.
    """

    def __init__(self, loader: PrefixLoader, capacity: int = MAX_VALIDATED_PROMPTS):
        self._get_num_positions = lru_cache(capacity)(loader.count_positions)

    def validate_params(self, params: PromptTransferParams) -> None:
        """Validate the prompt of a request; reads it unless the result is cached.

        Raises:
            SoftPromptError: the prompt cannot be served, or has another number of positions than the request says.
        """
        num_positions = self._get_num_positions(params.digest)
        if num_positions != params.num_positions:
            raise SettingError(
                f"the prompt has {num_positions} positions, but the request has {params.num_positions}: set "
                f"num_positions to {num_positions}"
            )
