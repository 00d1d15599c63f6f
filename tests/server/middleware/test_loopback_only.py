"""Without keys: this machine alone, and no other's page."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from softprompt.errors import SettingError
from softprompt.server.middleware.loopback_only import (
    LoopbackOnlyMiddleware,
    is_loopback_host,
    require_loopback_without_auth,
)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_hosts_are_recognized(host: str) -> None:
    assert is_loopback_host(host)
    require_loopback_without_auth(host, auth_enabled=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "no-such-host.invalid", "a" * 300])
def test_other_hosts_require_keys(host: str) -> None:
    with pytest.raises(SettingError, match="softprompt keys create"):
        require_loopback_without_auth(host, auth_enabled=False)
    require_loopback_without_auth(host, auth_enabled=True)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "127.0.0.1"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "LOCALHOST."}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:8000"}, 403),
        ({"Host": "192.0.2.1"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "localhost:8000", "Origin": "http://localhost:8000"}, 200),
        ({"Host": "localhost:8000", "Origin": "http://localhost:9000"}, 403),
        ({"Host": "localhost:8000", "Origin": "https://evil.example"}, 403),
        ({"Host": "localhost:8000", "Origin": "null"}, 403),
    ],
)
def test_only_requests_to_loopback_from_own_pages_are_accepted(headers: dict[str, str], status: int) -> None:
    app = FastAPI()

    @app.post("/")
    async def root() -> int:
        return 1

    answer = TestClient(LoopbackOnlyMiddleware(app)).post("/", headers=headers)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers
    if status == 403:
        assert answer.json()["error"]["code"] == "not_loopback"
