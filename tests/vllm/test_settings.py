"""An operator's settings are taken exactly, or refused: a misspelt one must not be ignored."""

from __future__ import annotations

from typing import Any

import pytest

from softprompt.errors import SettingError
from softprompt.vllm.settings import MEBI, Settings

FINGERPRINT = "sha256:0123456789abcdef"


def test_all_may_be_said() -> None:
    settings = Settings.read({"prompts": "store/prompts", "fingerprint": FINGERPRINT, "ram": 64})
    assert settings == Settings("store/prompts", FINGERPRINT, 64 * MEBI)


def test_only_the_place_must_be() -> None:
    assert Settings.read({"prompts": "s3://bucket/prompts"}) == Settings("s3://bucket/prompts", None, 1024 * MEBI)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"prompts": None}, "where the prompts are"),
        ({"prompts": ""}, "where the prompts are"),
        ({"promts": "x"}, "no setting 'promts'"),
        ({"fingerprint": "sha256:short"}, "softprompt show"),
        ({"fingerprint": 7}, "softprompt show"),
        ({"ram": 0}, "MiB"),
        ({"ram": True}, "MiB"),
        ({"ram": "64"}, "MiB"),
    ],
)
def test_what_is_wrong_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        Settings.read({"prompts": "store/prompts", **change})
