"""What an operator says of the plugin, in `kv_connector_extra_config`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from softprompt.errors import SettingError

MIB = 2**20

_SETTING_NAMES = {"artifact_location", "fingerprint", "cache_mib"}
_FINGERPRINT_PATTERN = re.compile(r"sha256:[0-9a-f]{16}")


@dataclass(frozen=True)
class PluginConfig:
    """The plugin's settings.

    Attributes:
        artifact_location: folder or URL of the artifact store, such as `STORE/prompts`.
        fingerprint: fingerprint of the served model; None reads it from the checkpoint's files.
        cache_bytes: maximum size of the prefix cache in each worker's RAM, in bytes.
    """

    artifact_location: str
    fingerprint: str | None = None
    cache_bytes: int = 1024 * MIB

    @classmethod
    def from_extra_config(cls, extra_config: Mapping[str, Any]) -> PluginConfig:
        """The settings in `kv_connector_extra_config`.

        Raises:
            SettingError: one is missing, unknown, or has a value that cannot work.
        """
        for key in set(extra_config) - _SETTING_NAMES:
            raise SettingError(
                f"kv_connector_extra_config has no setting {key!r}: there are {', '.join(sorted(_SETTING_NAMES))}"
            )
        location, fingerprint = extra_config.get("artifact_location"), extra_config.get("fingerprint")
        cache_mib = extra_config.get("cache_mib", 1024)
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
