"""A cache of API replies on disk, so that no request is paid for twice."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from softprompt.errors import translate_os_errors
from softprompt.model_api.api_reply import ApiReply
from softprompt.model_api.conversation import Conversation


class ReplyCache:
    """The cached replies of one model at one URL: a JSON line per reply, with the hash of the request.

    Args:
        folder: folder of the cache files.
        url: base URL of the API.
        model: name of the model.
    """

    def __init__(self, folder: Path, url: str, model: str):
        self.path = folder / f"{_hash_json(url, model)[:16]}.jsonl"

    def get_reply(self, conversation: Conversation, max_tokens: int) -> ApiReply | None:
        """Return the cached reply to a conversation, or None."""
        return self._replies.get(_hash_json(conversation, max_tokens))

    def save_reply(self, conversation: Conversation, max_tokens: int, reply: ApiReply) -> None:
        """Append a reply to the cache file.

        Raises:
            DiskFull: the disk is full.
        """
        request_hash = _hash_json(conversation, max_tokens)
        self._replies[request_hash] = reply
        with translate_os_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n" + json.dumps({"asked": request_hash, **asdict(reply)}))  # after a truncated line

    @cached_property
    def _replies(self) -> dict[str, ApiReply]:
        replies = {}
        for line in self.path.read_text("utf-8").splitlines() if self.path.is_file() else []:
            try:
                record = json.loads(line)
                request_hash = record.pop("asked")
                replies[request_hash] = ApiReply(**record)
            except (ValueError, KeyError, TypeError):  # truncated when the process was killed: requested again
                continue
        return replies


def _hash_json(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
