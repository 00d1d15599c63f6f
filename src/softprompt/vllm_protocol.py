"""The wire format between the gateway and softprompt's plugin in a vLLM server, for both of its ends.

A request names its prompt in `kv_transfer_params`. Its tokens start with a placeholder for each of the prompt's P
positions. vLLM never computes placeholders; the plugin writes the prompt's keys and values there:

    {"prompt": [0] * P + TOKEN_IDS, "kv_transfer_params": {"softprompt": {"prompt_digest": DIGEST, "num_positions": P}}}

DIGEST is the content hash of the saved prompt, under which the artifact store has it. The plugin's messages start with
`softprompt:`. A vLLM server uses the plugin if `--kv-transfer-config` names its connector:

    {"kv_connector": "SoftpromptConnector", "kv_role": "kv_both", "kv_connector_extra_config": {"artifact_location": …}}

The module needs neither vLLM nor torch, because vLLM imports it in each of its processes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from softprompt.errors import SettingError

PLUGIN_NAME = "softprompt"  # key of `kv_transfer_params`, and start of the plugin's messages
CONNECTOR_NAME = "SoftpromptConnector"
PLACEHOLDER_TOKEN_ID = 0  # any token would do
UNKNOWN_PROMPT_DIGEST = "0" * 64  # digest of no prompt; a server with the plugin rejects it
MIB = 2**20
DEFAULT_CACHE_MIB = 1024

_PARAM_FIELDS = {"prompt_digest", "num_positions"}
_CONFIG_FIELDS = {"artifact_location", "fingerprint", "cache_mib"}
_DIGEST_PATTERN = re.compile(r"[0-9a-f]{64}")
_FINGERPRINT_PATTERN = re.compile(r"sha256:[0-9a-f]{16}")


@dataclass(frozen=True)
class PromptTransferParams:
    """The prompt of a request.

    Attributes:
        digest: content hash of the saved prompt, 64 hexadecimal digits.
        num_positions: number of positions of the prompt, P, which is also the number of placeholders.
    """

    digest: str
    num_positions: int

    def to_kv_transfer_params(self) -> dict[str, Any]:
        """Return the `kv_transfer_params` of a request, which its response repeats."""
        return {PLUGIN_NAME: {"prompt_digest": self.digest, "num_positions": self.num_positions}}


def parse_kv_transfer_params(kv_transfer_params: object) -> PromptTransferParams | None:
    """Parse `kv_transfer_params`; None for a request without a prompt, whose parameters are absent or empty.

    Raises:
        SettingError: the parameters are malformed, or contain anything else.
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


def prepend_placeholders(token_ids: Iterable[int], num_positions: int) -> list[int]:
    """Return the tokens of a request: a placeholder for each position of its prompt, then the text's tokens."""
    return [*[PLACEHOLDER_TOKEN_ID] * num_positions, *token_ids]


def starts_with_placeholders(token_ids: Sequence[int]) -> bool:
    """Whether tokens look like those of a request with a prompt. No real text starts with this token twice."""
    return list(token_ids[:2]) == [PLACEHOLDER_TOKEN_ID] * 2


def format_plugin_error(error: Exception) -> str:
    """Format a message by which `is_plugin_error` recognizes the plugin."""
    return f"{PLUGIN_NAME}: {error}"


def is_plugin_error(message: str) -> bool:
    """Whether an error message of a vLLM server is from the plugin, not from vLLM."""
    return message.startswith(f"{PLUGIN_NAME}:")


@dataclass(frozen=True)
class PluginConfig:
    """The plugin's settings in `kv_connector_extra_config`.

    Attributes:
        artifact_location: folder or URL of the artifact store, such as `STORE/prompts`.
        fingerprint: fingerprint of the served model; None reads it from the checkpoint's files.
        cache_bytes: maximum size of the prefix cache in each worker's RAM, in bytes.
    """

    artifact_location: str
    fingerprint: str | None = None
    cache_bytes: int = DEFAULT_CACHE_MIB * MIB

    @classmethod
    def from_extra_config(cls, extra_config: Mapping[str, Any]) -> PluginConfig:
        """Parse `kv_connector_extra_config`.

        Raises:
            SettingError: a setting is missing, unknown or invalid.
        """
        for key in set(extra_config) - _CONFIG_FIELDS:
            raise SettingError(
                f"kv_connector_extra_config has no setting {key!r}: choose one of {', '.join(sorted(_CONFIG_FIELDS))}"
            )
        location, fingerprint = extra_config.get("artifact_location"), extra_config.get("fingerprint")
        cache_mib = extra_config.get("cache_mib", DEFAULT_CACHE_MIB)
        if not isinstance(location, str) or not location:
            raise SettingError(
                "the location of the prompts is missing: set kv_connector_extra_config "
                '{"artifact_location": "STORE/prompts"}'
            )
        if fingerprint is not None and not (
            isinstance(fingerprint, str) and _FINGERPRINT_PATTERN.fullmatch(fingerprint)
        ):
            raise SettingError("kv_connector_extra_config.fingerprint must be as `softprompt show` prints it: sha256:…")
        if type(cache_mib) not in (int, float) or cache_mib <= 0:
            raise SettingError("kv_connector_extra_config.cache_mib must be a number of MiB above 0")
        return cls(location, fingerprint, round(cache_mib * MIB))


def build_kv_transfer_config(artifact_location: str, **settings: Any) -> dict[str, Any]:
    """Build vLLM's `--kv-transfer-config`, which is this object in JSON.

    Args:
        artifact_location: folder of the artifact store, or a URL that fsspec supports.
        settings: the other settings in `kv_connector_extra_config`; see `PluginConfig`.
    """
    return {
        "kv_connector": CONNECTOR_NAME,
        "kv_role": "kv_both",
        "kv_connector_extra_config": {"artifact_location": artifact_location, **settings},
    }
