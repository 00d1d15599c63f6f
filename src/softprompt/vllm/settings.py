"""What an operator says of the plugin, in `kv_connector_extra_config`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from softprompt.errors import SettingError

MEBI = 2**20

_KEYS = {"prompts", "fingerprint", "ram"}
_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{16}")


@dataclass(frozen=True)
class Settings:
    """The plugin's settings.

    Attributes:
        prompts: where the store's prompts are, `STORE/prompts`.
        fingerprint: the model's, or None: it is taken from the checkpoint's files.
        ram: bytes that prefixes may take in each worker's RAM.
    """

    prompts: str
    fingerprint: str | None = None
    ram: int = 1024 * MEBI

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Settings:
        """The settings in `kv_connector_extra_config`.

        Raises:
            SettingError: one is missing, unknown, or has a value that cannot work.
        """
        for key in set(given) - _KEYS:
            raise SettingError(
                f"kv_connector_extra_config has no setting {key!r}: there are {', '.join(sorted(_KEYS))}"
            )
        prompts, fingerprint, ram = given.get("prompts"), given.get("fingerprint"), given.get("ram", 1024)
        if not isinstance(prompts, str) or not prompts:
            raise SettingError('say where the prompts are: kv_connector_extra_config {"prompts": "STORE/prompts"}')
        if fingerprint is not None and not (isinstance(fingerprint, str) and _FINGERPRINT.fullmatch(fingerprint)):
            raise SettingError("kv_connector_extra_config.fingerprint must be as `softprompt show` prints it: sha256:…")
        if type(ram) not in (int, float) or ram <= 0:
            raise SettingError("kv_connector_extra_config.ram must be a number of MiB above 0")
        return cls(prompts, fingerprint, round(ram * MEBI))
