"""What an API has answered, in a file that outlives the process: nothing is paid for twice."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from softprompt.comparison.ways.api.answers import Answer
from softprompt.comparison.ways.api.spoken import Conversation
from softprompt.errors import disk_errors


class Answered:
    """Answers of one model at one address, a line each; what was asked is there as a hash.

    Args:
        folder: of the comparison.
        url: the address.
        model: the model.
    """

    def __init__(self, folder: Path, url: str, model: str):
        self.file = folder / f"{_hashed(url, model)[:16]}.jsonl"

    def find(self, conversation: Conversation, max_tokens: int) -> Answer | None:
        """What was answered to a conversation, if it was."""
        return self._known.get(_hashed(conversation, max_tokens))

    def keep(self, conversation: Conversation, max_tokens: int, answer: Answer) -> None:
        """Write an answer down.

        Raises:
            DiskFull: there is no room for it.
        """
        asked = _hashed(conversation, max_tokens)
        self._known[asked] = answer
        with disk_errors(self.file):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as file:
                file.write("\n" + json.dumps({"asked": asked, **asdict(answer)}))  # behind a line that was cut short

    @cached_property
    def _known(self) -> dict[str, Answer]:
        known = {}
        for line in self.file.read_text("utf-8").splitlines() if self.file.is_file() else []:
            try:
                kept = json.loads(line)
                asked = kept.pop("asked")
                known[asked] = Answer(**kept)
            except (ValueError, KeyError, TypeError):  # cut short by a kill: it is asked again
                continue
        return known


def _hashed(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
