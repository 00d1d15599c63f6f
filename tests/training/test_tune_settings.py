"""Settings from names and values, as the command line, TOML files and Python pass them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from softprompt.comparison import CompareSettings
from softprompt.errors import SettingError
from softprompt.training import TuneSettings

GIVEN: dict[str, Any] = {"data": "train.jsonl", "output": "p"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("template", "caf\udce9 {text}"),
        ("init", "text:caf\udce9"),
        ("labels", ["good", "caf\udce9"]),
        ("verbalizer", {"good": "caf\udce9"}),
        ("verbalizer", {"caf\udce9": "good"}),
        ("map", {"text": "caf\udce9"}),
        ("label_field", "caf\udce9"),
        ("data", "caf\udce9.jsonl"),
        ("output", Path("caf\udce9")),
    ],
)
def test_invalid_unicode_in_a_setting_is_rejected_by_name(name: str, value: Any) -> None:
    for settings, more in ((TuneSettings, {}), (CompareSettings, {"test": "test.jsonl"})):
        if name in settings.model_fields:
            with pytest.raises(SettingError, match=rf"^`{name}`: '[^']*caf\\xe9[^']*' has the byte 0xe9 at character"):
                settings.from_dict({**GIVEN, **more, name: value})


def test_word_list_in_the_verbalizer_is_rejected() -> None:
    with pytest.raises(SettingError, match="one word or phrase; lists of words are not supported"):
        TuneSettings.from_dict({**GIVEN, "verbalizer": {"good": ["great", "lovely"]}})
