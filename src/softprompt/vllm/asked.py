"""What a request says of its prompt, in its `kv_transfer_params`.

    {"softprompt": {"prompt": CONTENT, "positions": P}}

CONTENT is the hash of the prompt's content, as the store names its folder. The request's tokens begin with P
placeholders, which are never computed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from softprompt.errors import SettingError

NAME = "softprompt"
PLACEHOLDER = 0  # any token would do: it stands for a position, and its own keys are never computed

_FIELDS = {"prompt", "positions"}
_CONTENT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Asked:
    """A prompt that a request is to stand behind.

    Attributes:
        content: the hash of its content.
        positions: P, how many placeholders hold its place.
    """

    content: str
    positions: int

    def parameters(self) -> dict[str, Any]:
        """As it is sent, and sent back."""
        return {NAME: {"prompt": self.content, "positions": self.positions}}


def asked_in(parameters: object) -> Asked | None:
    """The prompt that `kv_transfer_params` name, or None: they name none, and no other connector's affairs either.

    Raises:
        SettingError: they are not as they must be.
    """
    if parameters is None or parameters == {}:
        return None
    if not isinstance(parameters, dict) or set(parameters) != {NAME}:
        raise SettingError(f"kv_transfer_params must be an object with `{NAME}` and nothing else")
    fields = parameters[NAME]
    if not isinstance(fields, dict) or set(fields) != _FIELDS:
        raise SettingError(f"kv_transfer_params.{NAME} must have `prompt` and `positions` and nothing else")
    content, positions = fields["prompt"], fields["positions"]
    if not isinstance(content, str) or not _CONTENT.fullmatch(content):
        raise SettingError(f"kv_transfer_params.{NAME}.prompt must be the 64 hexadecimal digits of a content hash")
    if type(positions) is not int or positions < 1:
        raise SettingError(f"kv_transfer_params.{NAME}.positions must be a whole number above 0")
    return Asked(content, positions)
