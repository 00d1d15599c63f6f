"""Registering, resolving, activating, rolling back and removing versions, separately for each tenant."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from softprompt.errors import (
    BaseModelMismatch,
    CorruptPrompt,
    NotASavedPrompt,
    PromptInUse,
    PromptNotFound,
    SettingError,
    StoreError,
)
from softprompt.registry import AuditEvent, PromptRegistry
from softprompt.registry.locations import resolve_artifact_store
from softprompt.saved import SavedPrompt
from tests.registry.conftest import Home
from tests.registry.factories import stored
from tests.saved.factories import make
from tests.strategies import random_embeddings
from tests.tiny import tiny_model

Prompts = list[SavedPrompt]


def done(store: PromptRegistry) -> list[tuple[str, int | None]]:
    """What was done, the oldest first."""
    return [(event.action, event.version) for event in reversed(store.list_events())]


def test_a_registered_prompt_is_read_unchanged(store: PromptRegistry, saved: Prompts) -> None:
    before = datetime.now(UTC)
    version = store.register_prompt(saved[0], "reviews", note="the first", actor="ada")
    manifest = saved[0].manifest
    assert (version.tenant, version.name, version.number) == ("default", "reviews", 1)
    assert (version.note, version.created_by) == ("the first", "ada")
    assert f"sha256:{version.digest}" == manifest.content_hash
    assert (version.base_model, version.fingerprint) == (manifest.base.name, manifest.base.fingerprint)
    assert (version.task, version.method, version.num_virtual_tokens) == ("classification", "prompt", 3)
    assert version.size_bytes == sum(map(len, saved[0].files.values()))
    assert before <= version.created_at <= datetime.now(UTC)
    assert (
        store.resolve_version("reviews")
        == store.resolve_version("reviews@1")
        == store.resolve_version("reviews@active")
        == version
    )
    assert store.load_prompt(version).files == saved[0].files
    assert store.load_prompt(version).manifest == manifest


def test_a_reopened_registry_has_the_same_versions_and_events(
    store: PromptRegistry, home: Home, saved: Prompts
) -> None:
    version = store.register_prompt(saved[0], "reviews")
    with home.open() as again:
        assert again.resolve_version("reviews") == version
        assert again.list_prompts() == store.list_prompts()
        assert again.list_events() == store.list_events()


def test_registering_a_folder_stores_only_the_files_of_the_prompt(
    store: PromptRegistry, saved: Prompts, tmp_path: Path
) -> None:
    folder = tmp_path / "p"
    saved[0].save_to(folder)
    (folder / "README.md").write_text("a card")
    (folder / "run.sh").symlink_to("/bin/sh")
    (folder / "tasks").mkdir()
    version = store.register_prompt(folder, "reviews")
    assert (
        resolve_artifact_store(store.artifact_location).read_files(version.digest)
        == store.load_prompt(version).files
        == saved[0].files
    )


def test_versions_are_numbered_and_a_new_one_becomes_active_unless_activate_is_false(
    store: PromptRegistry, saved: Prompts
) -> None:
    assert [store.register_prompt(each, "reviews").number for each in saved[:2]] == [1, 2]
    assert store.resolve_version("reviews").number == 2
    assert store.register_prompt(saved[2], "reviews", activate=False).number == 3
    assert store.resolve_version("reviews").number == 2


def test_equal_prompts_share_one_artifact(store: PromptRegistry, saved: Prompts) -> None:
    versions = [store.register_prompt(saved[0], "reviews", tenant=tenant) for tenant in ("acme", "acme", "bolt")]
    assert [version.number for version in versions] == [1, 2, 1]
    assert stored(store) == [versions[0].digest]


def test_prompts_of_the_same_name_are_separate_for_each_tenant(store: PromptRegistry, saved: Prompts) -> None:
    acme, bolt = (store.register_prompt(saved[i], "reviews", tenant=t) for i, t in enumerate(("acme", "bolt")))
    assert store.resolve_version("reviews", tenant="acme") == acme
    assert store.resolve_version("reviews", tenant="bolt") == bolt
    assert [(prompt.tenant, prompt.name) for prompt in store.list_prompts()] == [
        ("acme", "reviews"),
        ("bolt", "reviews"),
    ]
    assert [prompt.versions for prompt in store.list_prompts("bolt")] == [(bolt,)]
    assert {event.tenant for event in store.list_events("bolt")} == {"bolt"}


def test_resolving_another_tenants_prompt_raises_the_error_of_a_missing_prompt(
    store: PromptRegistry, saved: Prompts
) -> None:
    store.register_prompt(saved[0], "secret", tenant="acme")
    store.register_prompt(saved[0], "reviews", tenant="bolt")

    def said(reference: str, tenant: str) -> str:
        with pytest.raises(PromptNotFound) as caught:
            store.resolve_version(reference, tenant=tenant)
        return str(caught.value).replace(reference.partition("@")[0], "NAME").replace(tenant, "TENANT")

    for at in ("", "@1", "@canary"):
        assert said(f"secret{at}", "bolt") == said(f"nothing{at}", "bolt") == said(f"secret{at}", "nobody")
    for change in (store.activate_version, store.remove_versions):
        with pytest.raises(PromptNotFound, match="bolt has no prompt 'secret'"):
            change("secret@1", tenant="bolt")
    for change in (store.roll_back_alias, store.deactivate_alias, store.remove_versions):
        with pytest.raises(PromptNotFound, match="bolt has no prompt 'secret'"):
            change("secret", tenant="bolt")
    assert store.list_prompts("nobody") == []


def test_the_error_of_an_unknown_version_or_alias_lists_existing_ones(store: PromptRegistry, saved: Prompts) -> None:
    store.register_prompt(saved[0], "reviews", activate=False)
    with pytest.raises(PromptNotFound, match="reviews@7 does not exist: the newest version is reviews@1"):
        store.resolve_version("reviews@7")
    with pytest.raises(PromptNotFound, match="no version of reviews is 'canary': activate one, .* such as reviews@1"):
        store.resolve_version("reviews@canary")
    with pytest.raises(PromptNotFound, match="no version of reviews is 'active'"):
        store.resolve_version("reviews")


def test_activating_or_rolling_back_an_alias_does_not_change_other_aliases(
    store: PromptRegistry, saved: Prompts
) -> None:
    for each in saved[:3]:
        store.register_prompt(each, "reviews")
    store.activate_version("reviews@2", alias="canary")
    assert (store.resolve_version("reviews").number, store.resolve_version("reviews@canary").number) == (3, 2)
    assert store.activate_version("reviews@canary").number == 2  # what has proved itself
    assert store.roll_back_alias("reviews").number == 3
    [prompt] = store.list_prompts()
    assert prompt.aliases == {"active": 3, "canary": 2}
    assert store.deactivate_alias("reviews@canary").number == 2
    with pytest.raises(PromptNotFound, match="'canary'"):
        store.resolve_version("reviews@canary")
    assert store.list_prompts()[0].aliases == {"active": 3}


def test_rolling_back_repeatedly_steps_through_the_activation_history(store: PromptRegistry, saved: Prompts) -> None:
    for each in saved[:3]:
        store.register_prompt(each, "reviews")
    store.activate_version("reviews@1")
    assert [store.roll_back_alias("reviews").number for _ in range(3)] == [3, 2, 1]
    with pytest.raises(StoreError, match="'active' of reviews has no previous version"):
        store.roll_back_alias("reviews")
    with pytest.raises(StoreError, match="no previous version to roll back to"):
        store.roll_back_alias("reviews@canary")
    assert store.resolve_version("reviews").number == 1


def test_rolling_back_skips_removed_versions(store: PromptRegistry, saved: Prompts) -> None:
    for each in saved[:2]:
        store.register_prompt(each, "reviews")
    store.activate_version("reviews@1")
    store.register_prompt(saved[2], "reviews")
    store.remove_versions("reviews@2")
    assert store.roll_back_alias("reviews").number == 1
    with pytest.raises(
        StoreError, match="no previous version to roll back to"
    ):  # behind 2 there is 1, which it is already
        store.roll_back_alias("reviews")


def test_rolling_back_restores_a_deactivated_version(store: PromptRegistry, saved: Prompts) -> None:
    store.register_prompt(saved[0], "reviews")
    store.deactivate_alias("reviews")
    assert store.roll_back_alias("reviews").number == 1
    assert store.resolve_version("reviews").number == 1


def test_removing_a_version_with_an_alias_is_rejected(store: PromptRegistry, saved: Prompts) -> None:
    for each in saved[:2]:
        store.register_prompt(each, "reviews")
    store.activate_version("reviews@1", alias="canary")
    for reference in ("reviews@2", "reviews"):
        with pytest.raises(PromptInUse, match="reviews@2 is 'active': .*`softprompt prompts deactivate reviews`"):
            store.remove_versions(reference)
    with pytest.raises(PromptInUse, match="reviews@1 is 'canary': .*deactivate reviews@canary`"):
        store.remove_versions("reviews@1")
    store.deactivate_alias("reviews")
    assert [version.number for version in store.remove_versions("reviews@2")] == [2]
    store.deactivate_alias("reviews@canary")
    assert [version.number for version in store.remove_versions("reviews")] == [1]
    assert store.list_prompts() == []


def test_numbers_of_removed_versions_are_not_reused(store: PromptRegistry, saved: Prompts) -> None:
    for each in saved[:2]:
        store.register_prompt(each, "reviews", activate=False)
    store.remove_versions("reviews@2")
    assert store.register_prompt(saved[2], "reviews", activate=False).number == 3
    store.remove_versions("reviews")
    with pytest.raises(PromptNotFound, match="has no prompt 'reviews'"):
        store.resolve_version("reviews@1")
    assert store.register_prompt(saved[0], "reviews").number == 4


def test_a_version_removed_after_it_was_resolved_can_still_be_loaded(store: PromptRegistry, saved: Prompts) -> None:
    version = store.register_prompt(saved[0], "reviews", activate=False)
    store.remove_versions("reviews")
    store.collect_garbage()
    assert store.load_prompt(version).files == saved[0].files


def test_registering_a_version_for_another_base_model_is_rejected(store: PromptRegistry, saved: Prompts) -> None:
    other = tiny_model("llama", seed=1)
    stranger = make(random_embeddings(other, 3, seed=0), model=other)
    store.register_prompt(saved[0], "reviews", activate=False)
    with pytest.raises(BaseModelMismatch, match="the versions of reviews are for .*register it under another name"):
        store.register_prompt(stranger, "reviews")
    assert store.register_prompt(stranger, "reviews", tenant="acme").number == 1
    store.remove_versions("reviews")
    assert store.register_prompt(stranger, "reviews").number == 2


def test_registering_a_folder_without_an_intact_prompt_is_rejected(
    store: PromptRegistry, saved: Prompts, tmp_path: Path
) -> None:
    with pytest.raises(NotASavedPrompt):
        store.register_prompt(tmp_path, "reviews")
    saved[0].save_to(tmp_path / "p")
    [tensors] = (tmp_path / "p").glob("*.safetensors")
    tensors.write_bytes(tensors.read_bytes()[:-1])
    with pytest.raises(CorruptPrompt):
        store.register_prompt(tmp_path / "p", "reviews")
    assert (store.list_prompts(), store.list_events(), stored(store)) == ([], [], [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "Reviews"}, "invalid prompt name 'Reviews'"),
        ({"tenant": "../acme"}, "invalid tenant name"),
        ({"actor": " "}, "invalid `actor`"),
        ({"actor": "a\nb"}, "invalid `actor`"),
        ({"note": "\0"}, "the note contains NUL or invalid Unicode"),
        ({"note": "\udcff"}, "the note contains NUL or invalid Unicode"),
    ],
)
def test_registering_with_invalid_names_notes_or_actors_is_rejected(
    store: PromptRegistry, saved: Prompts, arguments: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        store.register_prompt(saved[0], **{"name": "reviews", **arguments})
    assert (store.list_prompts(), stored(store)) == ([], [])


def test_references_of_the_wrong_kind_are_rejected(store: PromptRegistry, saved: Prompts) -> None:
    store.register_prompt(saved[0], "reviews")
    with pytest.raises(SettingError, match="names no version"):
        store.activate_version("reviews")
    with pytest.raises(SettingError, match="could be confused with a version number"):
        store.activate_version("reviews@1", alias="2")
    with pytest.raises(SettingError, match="reviews@canary is an alias: remove a version by its number"):
        store.remove_versions("reviews@canary")
    for change in (store.roll_back_alias, store.deactivate_alias):
        with pytest.raises(SettingError, match="reviews@1 is a version number: name an alias"):
            change("reviews@1")


def test_the_audit_log_records_the_actor_and_details_of_every_change(store: PromptRegistry, saved: Prompts) -> None:
    first = store.register_prompt(saved[0], "reviews", actor="ada", note="a note")
    store.register_prompt(saved[1], "reviews", activate=False)
    store.activate_version("reviews@2", actor="bob")
    store.activate_version("reviews@2", actor="bob")  # it is already
    store.roll_back_alias("reviews")
    store.deactivate_alias("reviews")
    store.remove_versions("reviews@2")
    assert done(store) == [
        ("add", 1),
        ("activate", 1),
        ("add", 2),
        ("activate", 2),
        ("rollback", 1),
        ("deactivate", 1),
        ("remove", 2),
    ]
    oldest = store.list_events()[-1]
    details = {"content": first.digest, "note": "a note"}
    assert oldest == AuditEvent(oldest.id, oldest.timestamp, "ada", "add", "default", "reviews", 1, details)
    assert store.list_events()[3].details == {"alias": "active", "before": 1}
    assert store.list_events()[3].actor == "bob"
    assert store.list_events()[0].actor == getpass.getuser()
    assert [event.timestamp for event in store.list_events()] == sorted(
        (e.timestamp for e in store.list_events()), reverse=True
    )
    assert store.list_events(limit=2) == store.list_events()[:2]
    assert store.list_events(name="nothing") == []


def test_a_user_without_a_user_name_is_recorded_by_id(
    store: PromptRegistry, saved: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unnamed() -> str:
        raise OSError("No username set in the environment")

    monkeypatch.setattr(getpass, "getuser", unnamed)
    assert store.register_prompt(saved[0], "reviews").created_by.startswith("user ")


def test_rejected_changes_leave_prompts_and_audit_log_unchanged(store: PromptRegistry, saved: Prompts) -> None:
    store.register_prompt(saved[0], "reviews")
    before = store.list_prompts(), store.list_events()
    for change, reference in (
        (store.remove_versions, "reviews"),
        (store.roll_back_alias, "reviews"),
        (store.activate_version, "reviews@2"),
    ):
        with pytest.raises(StoreError):
            change(reference)
    assert (store.list_prompts(), store.list_events()) == before
