"""The endpoint of the API method: URL, key and model, and their errors before the first request."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from softprompt.errors import SettingError, SoftPromptError, TaskError
from softprompt.tasks import TokenClassificationTask
from tests.comparison.methods.api.api_harness import ROWS, Asked
from tests.model_api.fake_openai import KEY, FakeApi


class TestEndpointSettings:
    def refused(self, asked: Asked, error: type[SoftPromptError], words: str, **settings: Any) -> None:
        with pytest.raises(error, match=words) as caught:
            asked.fitted(**settings)
        assert KEY not in str(caught.value)

    def test_the_model_name_is_read_from_the_settings(self, api: FakeApi, asked: Asked) -> None:
        asked.measured(ROWS[:1], argument=None, api_model="from-settings")
        assert api.requests[0]["model"] == "from-settings"

    def test_a_missing_model_is_rejected(self, asked: Asked) -> None:
        self.refused(asked, SettingError, r'set `api_model`, or pass `methods=\["api:MODEL"\]`', argument=None)

    def test_a_missing_key_for_openai_is_rejected(self, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OPENAI_API_KEY")
        self.refused(asked, SettingError, "no API key: set OPENAI_API_KEY, or pass .+ `base_url`", base_url=None)

    def test_a_base_url_only_in_the_environment_is_rejected(
        self, api: FakeApi, asked: Asked, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_BASE_URL", api.url)
        self.refused(asked, SettingError, "OPENAI_BASE_URL is set: pass the same URL as `base_url`", base_url=None)

    @pytest.mark.parametrize("key", [f"{KEY}\n", f"  {KEY}\r\n"])
    def test_white_space_around_a_key_is_ignored(self, asked: Asked, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
        assert asked.measured(ROWS[:1]).scores == [1.0]

    @pytest.mark.parametrize("key", [f"{KEY}\nX-Other: 1", f"{KEY}é"])
    def test_invalid_characters_in_a_key_are_rejected(
        self, asked: Asked, monkeypatch: pytest.MonkeyPatch, key: str
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
        self.refused(asked, SettingError, "OPENAI_API_KEY contains characters that are invalid in a key")

    @pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", "http://", "http://x:port", "http://[::1"])
    def test_invalid_urls_are_rejected(self, asked: Asked, url: str) -> None:
        self.refused(asked, SettingError, "invalid URL: pass a URL such as http://localhost:8000/v1", base_url=url)

    @pytest.mark.parametrize("url", [f"http://me:{KEY}@x/v1", f"http://x/v1?key={KEY}", f"http://x/v1#{KEY}"])
    def test_a_password_in_the_url_is_rejected(self, asked: Asked, url: str) -> None:
        self.refused(asked, SettingError, "`base_url` must not contain a password", base_url=url)

    def test_a_missing_openai_package_is_reported(self, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "openai", None)
        for name in ("chat_client", "openai_errors"):
            monkeypatch.delitem(sys.modules, f"softprompt.model_api.{name}", raising=False)
        self.refused(asked, SettingError, r"pip install 'softprompt\[compare\]'")

    def test_a_task_without_a_text_form_is_rejected(self, asked: Asked) -> None:
        self.refused(
            asked, TaskError, "token-classification is not supported with an API", task=TokenClassificationTask()
        )
