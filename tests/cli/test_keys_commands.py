"""`softprompt keys`: keys are created, listed without secrets, revoked."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from softprompt.registry import PromptRegistry
from tests.cli.conftest import Ran, Softprompt


class Keys:
    """`softprompt keys` on one registry."""

    def __init__(self, softprompt: Softprompt, store: Path):
        self.softprompt, self.store = softprompt, store

    def __call__(self, command: str, *options: object) -> Ran:
        return self.softprompt("keys", command, *options, "--store", self.store)


@pytest.fixture
def keys(softprompt: Softprompt, tmp_path: Path) -> Keys:
    return Keys(softprompt, tmp_path / "store")


def test_keys_create_returns_a_valid_secret_that_keys_list_never_prints(keys: Keys) -> None:
    made = keys(
        "create", "--tenant", "acme", "--scope", "manage", "--name", "the shop", "--actor", "ada", "--json"
    ).json
    text = made.pop("key")
    with PromptRegistry.open(keys.store) as store:
        found = store.api_keys.authenticate_secret(text)
    assert found is not None
    assert (found.id, found.tenant, found.scope) == (made["id"], "acme", "manage")
    [listed] = keys("list", "--json").json["keys"]
    assert listed == made
    assert listed["valid"] is True
    assert listed["expires_at"] is None
    for shown in (keys("list"), keys("list", "--json")):
        assert text[16:] not in shown.out


def test_keys_create_prints_the_key_on_a_line_of_its_own(keys: Keys) -> None:
    said = keys("create", "--tenant", "acme")
    text, rest = said.out.split("\n", 1)
    assert "cannot be shown again" in rest
    with PromptRegistry.open(keys.store) as store:
        assert store.api_keys.authenticate_secret(text) is not None


def test_expires_in_days_sets_the_expiry_time_of_a_key(keys: Keys) -> None:
    made = keys("create", "--expires-in-days", 30, "--json").json
    times = [datetime.fromisoformat(made[name]) for name in ("created_at", "expires_at")]
    assert times[1] - times[0] == timedelta(days=30)
    keys("create", "--expires-in-days", 0).refused("--expires-in-days")


def test_keys_are_listed_by_tenant_and_revoked(keys: Keys) -> None:
    one = keys("create", "--tenant", "acme", "--json").json
    two = keys("create", "--tenant", "bolt", "--json").json
    assert [key["id"] for key in keys("list", "--tenant", "bolt", "--json").json["keys"]] == [two["id"]]
    gone = keys("revoke", one["id"], "--actor", "ada", "--json").json
    assert (gone["id"], gone["valid"]) == (one["id"], False)
    assert "Revoked" in keys("revoke", two["id"]).out
    assert [key["valid"] for key in keys("list", "--json").json["keys"]] == [False, False]
    assert keys("list").out.count("revoked") == 2


def test_keys_list_shows_whole_ids_on_a_narrow_terminal(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [
        keys("create", "--tenant", tenant, "--name", "the shop", "--expires-in-days", "90", "--json").json
        for tenant in "ab"
    ]
    for columns in ("80", "60"):
        monkeypatch.setenv("COLUMNS", columns)
        said = keys("list").out
        assert all(each["id"] in said for each in made)


def test_an_empty_registry_lists_no_keys(keys: Keys) -> None:
    PromptRegistry.open(keys.store, create=True).close()
    assert keys("list").out == "There are no keys.\n"


def test_invalid_key_commands_are_rejected(keys: Keys) -> None:
    keys("list").refused("no prompt registry in")
    keys("create", "--scope", "root").refused("unknown scope 'root': choose one of use, manage, admin")
    keys("create", "--tenant", "A b").refused("invalid tenant name")
    keys("revoke", "000000000000").refused("API key not found")
