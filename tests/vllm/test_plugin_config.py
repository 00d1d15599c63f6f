"""An operator's settings are taken exactly, or refused: a misspelt one must not be ignored."""

from __future__ import annotations

from typing import Any

import pytest

from softprompt.errors import SettingError
from softprompt.vllm.plugin_config import MIB, PluginConfig

FINGERPRINT = "sha256:0123456789abcdef"


def test_all_may_be_said() -> None:
    settings = PluginConfig.from_extra_config(
        {"artifact_location": "store/prompts", "fingerprint": FINGERPRINT, "cache_mib": 64}
    )
    assert settings == PluginConfig("store/prompts", FINGERPRINT, 64 * MIB)


def test_only_the_place_must_be() -> None:
    assert PluginConfig.from_extra_config({"artifact_location": "s3://bucket/prompts"}) == PluginConfig(
        "s3://bucket/prompts", None, 1024 * MIB
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"artifact_location": None}, "location of the prompts is missing"),
        ({"artifact_location": ""}, "location of the prompts is missing"),
        ({"promts": "x"}, "no setting 'promts'"),
        ({"fingerprint": "sha256:short"}, "softprompt show"),
        ({"fingerprint": 7}, "softprompt show"),
        ({"cache_mib": 0}, "MiB"),
        ({"cache_mib": True}, "MiB"),
        ({"cache_mib": "64"}, "MiB"),
    ],
)
def test_what_is_wrong_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        PluginConfig.from_extra_config({"artifact_location": "store/prompts", **change})
