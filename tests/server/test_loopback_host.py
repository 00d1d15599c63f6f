"""Loopback hosts require no keys, other hosts do."""

from __future__ import annotations

import pytest

from softprompt.errors import SettingError
from softprompt.server.loopback_host import is_loopback_host, require_loopback_without_auth


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_hosts_are_recognized_and_require_no_keys(host: str) -> None:
    assert is_loopback_host(host)
    require_loopback_without_auth(host, auth_enabled=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "no-such-host.invalid", "a" * 300])
def test_other_hosts_require_keys(host: str) -> None:
    with pytest.raises(SettingError, match="softprompt keys create"):
        require_loopback_without_auth(host, auth_enabled=False)
    require_loopback_without_auth(host, auth_enabled=True)
