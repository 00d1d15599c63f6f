"""What a request says of its prompt, in its `kv_transfer_params`.

    {"softprompt": {"prompt_digest": DIGEST, "num_positions": P}}

CONTENT is the hash of the prompt's content, as the store names its folder. The request's tokens begin with P
placeholders, which are never computed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from softprompt.errors import SettingError

PLUGIN_NAME = "softprompt"
PLACEHOLDER_TOKEN_ID = 0  # any token would do: it stands for a position, and its own keys are never computed

_PARAM_FIELDS = {"prompt_digest", "num_positions"}
_DIGEST_PATTERN = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class PromptTransferParams:
    """A prompt that a request is to stand behind.

    Attributes:
        content: the hash of its content.
        positions: P, how many placeholders hold its place.
    """

    digest: str
    num_positions: int

    def to_kv_transfer_params(self) -> dict[str, Any]:
        """As it is sent, and sent back."""
        return {PLUGIN_NAME: {"prompt_digest": self.digest, "num_positions": self.num_positions}}


def parse_kv_transfer_params(kv_transfer_params: object) -> PromptTransferParams | None:
    """The prompt that `kv_transfer_params` name, or None: they name none, and no other connector's affairs either.

    Raises:
        SettingError: they are not as they must be.
    """
    if kv_transfer_params is None or kv_transfer_params == {}:
        return None
    if not isinstance(kv_transfer_params, dict) or set(kv_transfer_params) != {PLUGIN_NAME}:
        raise SettingError(f"kv_transfer_params must be an object with `{PLUGIN_NAME}` and nothing else")
    fields = kv_transfer_params[PLUGIN_NAME]
    if not isinstance(fields, dict) or set(fields) != _PARAM_FIELDS:
        raise SettingError(
            f"kv_transfer_params.{PLUGIN_NAME} must have `prompt_digest` and `num_positions` and nothing else"
        )
    digest, num_positions = fields["prompt_digest"], fields["num_positions"]
    if not isinstance(digest, str) or not _DIGEST_PATTERN.fullmatch(digest):
        raise SettingError(
            f"kv_transfer_params.{PLUGIN_NAME}.prompt_digest must be the 64 hexadecimal digits of a content hash"
        )
    if type(num_positions) is not int or num_positions < 1:
        raise SettingError(f"kv_transfer_params.{PLUGIN_NAME}.num_positions must be a whole number above 0")
    return PromptTransferParams(digest, num_positions)
