"""Prompts as the replica reads them: from the store's folders by their hashes, every file checked."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from softprompt.errors import SettingError
from softprompt.model import KVPrefix
from softprompt.registry.integrity import load_prompt_artifact
from softprompt.registry.locations import resolve_artifact_store
from softprompt.vllm.served_model import ServedModel
from softprompt.vllm_protocol import PromptTransferParams

MAX_VALIDATED_PROMPTS = 100_000  # prompts whose positions are remembered; a line each


class PrefixLoader:
    """Reads prompts for a running model.

    Args:
        place: where the store's prompts are.
        base: the model.
    """

    def __init__(self, artifact_location: str, served_model: ServedModel):
        self._artifacts, self._served_model = resolve_artifact_store(artifact_location), served_model

    def load_prefix(self, digest: str) -> KVPrefix:
        """The prefix of a content.

        Raises:
            CorruptPrompt: it is missing, or not what was written.
            BaseModelMismatch: it was made for another model.
            PeftExportError: it holds embeddings.
        """
        return self._served_model.require_prefix(load_prompt_artifact(self._artifacts, digest))


class PromptValidator:
    """Which prompts were looked at, and how many positions each takes; those that were asked for last.

    Args:
        reader: reads them.
        known: how many are remembered.
    """

    def __init__(self, loader: PrefixLoader, capacity: int = MAX_VALIDATED_PROMPTS):
        self._loader, self._capacity, self._lock = loader, capacity, Lock()
        self._num_positions: OrderedDict[str, int] = OrderedDict()

    def validate_params(self, params: PromptTransferParams) -> None:
        """Read what is asked for, unless that was done before.

        Raises:
            SoftPromptError: it cannot be served, or takes other positions than the request says.
        """
        positions = self._get_num_positions(params.digest)
        if positions != params.num_positions:
            raise SettingError(f"the prompt takes {positions} positions, the request says {params.num_positions}")

    def _get_num_positions(self, digest: str) -> int:
        with self._lock:
            if digest in self._num_positions:
                self._num_positions.move_to_end(digest)
                return self._num_positions[digest]
        positions = self._loader.load_prefix(digest).num_positions
        with self._lock:
            self._num_positions[digest] = positions
            while len(self._num_positions) > self._capacity:
                self._num_positions.popitem(last=False)
        return positions
