"""Prompts as the replica reads them: from the store's folders by their hashes, every file checked."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from softprompt.errors import SettingError
from softprompt.model import Prefix
from softprompt.store.places import folders_at
from softprompt.store.verifying import read_content
from softprompt.vllm.asked import Asked
from softprompt.vllm.base import Base

KNOWN = 100_000  # prompts whose positions are remembered; a line each


class Reader:
    """Reads prompts for a running model.

    Args:
        place: where the store's prompts are.
        base: the model.
    """

    def __init__(self, place: str, base: Base):
        self._folders, self._base = folders_at(place), base

    def prefix(self, content: str) -> Prefix:
        """The prefix of a content.

        Raises:
            DamagedPrompt: it is missing, or not what was written.
            WrongBaseModel: it was made for another model.
            NotExpressible: it holds embeddings.
        """
        return self._base.fitting(read_content(self._folders, content))


class Looked:
    """Which prompts were looked at, and how many positions each takes; those that were asked for last.

    Args:
        reader: reads them.
        known: how many are remembered.
    """

    def __init__(self, reader: Reader, known: int = KNOWN):
        self._reader, self._known, self._lock = reader, known, Lock()
        self._positions: OrderedDict[str, int] = OrderedDict()

    def check(self, asked: Asked) -> None:
        """Read what is asked for, unless that was done before.

        Raises:
            SoftPromptError: it cannot be served, or takes other positions than the request says.
        """
        positions = self._looked(asked.content)
        if positions != asked.positions:
            raise SettingError(f"the prompt takes {positions} positions, the request says {asked.positions}")

    def _looked(self, content: str) -> int:
        with self._lock:
            if content in self._positions:
                self._positions.move_to_end(content)
                return self._positions[content]
        positions = self._reader.prefix(content).num_positions
        with self._lock:
            self._positions[content] = positions
            while len(self._positions) > self._known:
                self._positions.popitem(last=False)
        return positions
