"""Adding, resolving, activating, rolling back, removing: what each tenant sees."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from softprompt.errors import (
    DamagedPrompt,
    NotASavedPrompt,
    PromptInUse,
    SettingError,
    StoreError,
    UnknownPrompt,
    WrongBaseModel,
)
from softprompt.saved import SavedPrompt
from softprompt.store import Event, Store
from softprompt.store.places import folders_at
from tests.saved.making import make
from tests.store.conftest import Home
from tests.store.making import stored
from tests.strategies import random_embeddings
from tests.tiny import tiny_model

Prompts = list[SavedPrompt]


def done(store: Store) -> list[tuple[str, int | None]]:
    """What was done, the oldest first."""
    return [(event.what, event.version) for event in reversed(store.history())]


def test_what_is_added_is_what_is_read(store: Store, saved: Prompts) -> None:
    before = datetime.now(UTC)
    version = store.add(saved[0], "reviews", note="the first", by="ada")
    manifest = saved[0].manifest
    assert (version.tenant, version.name, version.number) == ("default", "reviews", 1)
    assert (version.note, version.created_by) == ("the first", "ada")
    assert f"sha256:{version.content}" == manifest.content_hash
    assert (version.base, version.fingerprint) == (manifest.base.name, manifest.base.fingerprint)
    assert (version.task, version.method, version.num_virtual_tokens) == ("classification", "prompt", 3)
    assert version.size == sum(map(len, saved[0].files.values()))
    assert before <= version.created_at <= datetime.now(UTC)
    assert store.resolve("reviews") == store.resolve("reviews@1") == store.resolve("reviews@active") == version
    assert store.read(version).files == saved[0].files
    assert store.read(version).manifest == manifest


def test_it_is_all_there_when_it_is_opened_again(store: Store, home: Home, saved: Prompts) -> None:
    version = store.add(saved[0], "reviews")
    with home.open() as again:
        assert again.resolve("reviews") == version
        assert again.prompts() == store.prompts()
        assert again.history() == store.history()


def test_a_folder_gives_its_own_files_and_nothing_else(store: Store, saved: Prompts, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    saved[0].write(folder)
    (folder / "README.md").write_text("a card")
    (folder / "run.sh").symlink_to("/bin/sh")
    (folder / "tasks").mkdir()
    version = store.add(folder, "reviews")
    assert folders_at(store.prompts_at).files(version.content) == store.read(version).files == saved[0].files


def test_versions_count_and_the_newest_is_active_unless_otherwise_said(store: Store, saved: Prompts) -> None:
    assert [store.add(each, "reviews").number for each in saved[:2]] == [1, 2]
    assert store.resolve("reviews").number == 2
    assert store.add(saved[2], "reviews", activate=False).number == 3
    assert store.resolve("reviews").number == 2


def test_the_same_content_is_stored_once(store: Store, saved: Prompts) -> None:
    versions = [store.add(saved[0], "reviews", tenant=tenant) for tenant in ("acme", "acme", "bolt")]
    assert [version.number for version in versions] == [1, 2, 1]
    assert stored(store) == [versions[0].content]


def test_tenants_have_names_of_their_own(store: Store, saved: Prompts) -> None:
    acme, bolt = (store.add(saved[i], "reviews", tenant=t) for i, t in enumerate(("acme", "bolt")))
    assert store.resolve("reviews", tenant="acme") == acme
    assert store.resolve("reviews", tenant="bolt") == bolt
    assert [(prompt.tenant, prompt.name) for prompt in store.prompts()] == [("acme", "reviews"), ("bolt", "reviews")]
    assert [prompt.versions for prompt in store.prompts("bolt")] == [(bolt,)]
    assert {event.tenant for event in store.history("bolt")} == {"bolt"}


def test_another_tenants_prompt_is_as_unknown_as_none(store: Store, saved: Prompts) -> None:
    store.add(saved[0], "secret", tenant="acme")
    store.add(saved[0], "reviews", tenant="bolt")

    def said(reference: str, tenant: str) -> str:
        with pytest.raises(UnknownPrompt) as caught:
            store.resolve(reference, tenant=tenant)
        return str(caught.value).replace(reference.partition("@")[0], "NAME").replace(tenant, "TENANT")

    for at in ("", "@1", "@canary"):
        assert said(f"secret{at}", "bolt") == said(f"nothing{at}", "bolt") == said(f"secret{at}", "nobody")
    for change in (store.activate, store.remove):
        with pytest.raises(UnknownPrompt, match="bolt has no prompt 'secret'"):
            change("secret@1", tenant="bolt")
    for change in (store.roll_back, store.deactivate, store.remove):
        with pytest.raises(UnknownPrompt, match="bolt has no prompt 'secret'"):
            change("secret", tenant="bolt")
    assert store.prompts("nobody") == []


def test_an_unknown_version_or_alias_says_what_there_is(store: Store, saved: Prompts) -> None:
    store.add(saved[0], "reviews", activate=False)
    with pytest.raises(UnknownPrompt, match="no reviews@7: the newest version is reviews@1"):
        store.resolve("reviews@7")
    with pytest.raises(UnknownPrompt, match="no version of reviews is 'canary': activate one, .* such as reviews@1"):
        store.resolve("reviews@canary")
    with pytest.raises(UnknownPrompt, match="no version of reviews is 'active'"):
        store.resolve("reviews")


def test_aliases_move_each_for_itself(store: Store, saved: Prompts) -> None:
    for each in saved[:3]:
        store.add(each, "reviews")
    store.activate("reviews@2", alias="canary")
    assert (store.resolve("reviews").number, store.resolve("reviews@canary").number) == (3, 2)
    assert store.activate("reviews@canary").number == 2  # what has proved itself
    assert store.roll_back("reviews").number == 3
    [prompt] = store.prompts()
    assert prompt.aliases == {"active": 3, "canary": 2}
    assert store.deactivate("reviews@canary").number == 2
    with pytest.raises(UnknownPrompt, match="'canary'"):
        store.resolve("reviews@canary")
    assert store.prompts()[0].aliases == {"active": 3}


def test_rolling_back_goes_further_back_each_time(store: Store, saved: Prompts) -> None:
    for each in saved[:3]:
        store.add(each, "reviews")
    store.activate("reviews@1")
    assert [store.roll_back("reviews").number for _ in range(3)] == [3, 2, 1]
    with pytest.raises(StoreError, match="no other version of reviews was 'active' before"):
        store.roll_back("reviews")
    with pytest.raises(StoreError, match="nothing to go back to"):
        store.roll_back("reviews@canary")
    assert store.resolve("reviews").number == 1


def test_rolling_back_passes_over_what_was_removed(store: Store, saved: Prompts) -> None:
    for each in saved[:2]:
        store.add(each, "reviews")
    store.activate("reviews@1")
    store.add(saved[2], "reviews")
    store.remove("reviews@2")
    assert store.roll_back("reviews").number == 1
    with pytest.raises(StoreError, match="nothing to go back to"):  # behind 2 there is 1, which it is already
        store.roll_back("reviews")


def test_rolling_back_brings_back_what_was_deactivated(store: Store, saved: Prompts) -> None:
    store.add(saved[0], "reviews")
    store.deactivate("reviews")
    assert store.roll_back("reviews").number == 1
    assert store.resolve("reviews").number == 1


def test_what_an_alias_points_to_is_not_removed(store: Store, saved: Prompts) -> None:
    for each in saved[:2]:
        store.add(each, "reviews")
    store.activate("reviews@1", alias="canary")
    for reference in ("reviews@2", "reviews"):
        with pytest.raises(PromptInUse, match="reviews@2 is 'active': .*`softprompt prompts deactivate reviews`"):
            store.remove(reference)
    with pytest.raises(PromptInUse, match="reviews@1 is 'canary': .*deactivate reviews@canary`"):
        store.remove("reviews@1")
    store.deactivate("reviews")
    assert [version.number for version in store.remove("reviews@2")] == [2]
    store.deactivate("reviews@canary")
    assert [version.number for version in store.remove("reviews")] == [1]
    assert store.prompts() == []


def test_a_number_is_not_given_again(store: Store, saved: Prompts) -> None:
    for each in saved[:2]:
        store.add(each, "reviews", activate=False)
    store.remove("reviews@2")
    assert store.add(saved[2], "reviews", activate=False).number == 3
    store.remove("reviews")
    with pytest.raises(UnknownPrompt, match="has no prompt 'reviews'"):
        store.resolve("reviews@1")
    assert store.add(saved[0], "reviews").number == 4


def test_a_removed_version_can_be_read_by_whom_it_was_resolved_for(store: Store, saved: Prompts) -> None:
    version = store.add(saved[0], "reviews", activate=False)
    store.remove("reviews")
    store.collect()
    assert store.read(version).files == saved[0].files


def test_versions_of_a_name_are_for_one_base(store: Store, saved: Prompts) -> None:
    other = tiny_model("llama", seed=1)
    stranger = make(random_embeddings(other, 3, seed=0), model=other)
    store.add(saved[0], "reviews", activate=False)
    with pytest.raises(WrongBaseModel, match="reviews holds prompts for .*give it another name"):
        store.add(stranger, "reviews")
    assert store.add(stranger, "reviews", tenant="acme").number == 1
    store.remove("reviews")
    assert store.add(stranger, "reviews").number == 2


def test_what_is_no_prompt_is_not_added(store: Store, saved: Prompts, tmp_path: Path) -> None:
    with pytest.raises(NotASavedPrompt):
        store.add(tmp_path, "reviews")
    saved[0].write(tmp_path / "p")
    [tensors] = (tmp_path / "p").glob("*.safetensors")
    tensors.write_bytes(tensors.read_bytes()[:-1])
    with pytest.raises(DamagedPrompt):
        store.add(tmp_path / "p", "reviews")
    assert (store.prompts(), store.history(), stored(store)) == ([], [], [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "Reviews"}, "'Reviews' is no name for a prompt"),
        ({"tenant": "../acme"}, "no name for a tenant"),
        ({"by": " "}, "does not say who"),
        ({"by": "a\nb"}, "does not say who"),
        ({"note": "\0"}, "the note holds characters that are none"),
        ({"note": "\udcff"}, "the note holds characters that are none"),
    ],
)
def test_words_that_cannot_be(store: Store, saved: Prompts, arguments: dict[str, str], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        store.add(saved[0], **{"name": "reviews", **arguments})
    assert (store.prompts(), stored(store)) == ([], [])


def test_references_that_a_command_cannot_mean(store: Store, saved: Prompts) -> None:
    store.add(saved[0], "reviews")
    with pytest.raises(SettingError, match="which version of reviews"):
        store.activate("reviews")
    with pytest.raises(SettingError, match="would be a version's number"):
        store.activate("reviews@1", alias="2")
    with pytest.raises(SettingError, match="reviews@canary is an alias: remove a version by its number"):
        store.remove("reviews@canary")
    for change in (store.roll_back, store.deactivate):
        with pytest.raises(SettingError, match="reviews@1 is a version: name an alias"):
            change("reviews@1")


def test_the_history_tells_who_did_what(store: Store, saved: Prompts) -> None:
    first = store.add(saved[0], "reviews", by="ada", note="a note")
    store.add(saved[1], "reviews", activate=False)
    store.activate("reviews@2", by="bob")
    store.activate("reviews@2", by="bob")  # it is already
    store.roll_back("reviews")
    store.deactivate("reviews")
    store.remove("reviews@2")
    assert done(store) == [
        ("add", 1),
        ("activate", 1),
        ("add", 2),
        ("activate", 2),
        ("rollback", 1),
        ("deactivate", 1),
        ("remove", 2),
    ]
    oldest = store.history()[-1]
    details = {"content": first.content, "note": "a note"}
    assert oldest == Event(oldest.id, oldest.at, "ada", "add", "default", "reviews", 1, details)
    assert store.history()[3].details == {"alias": "active", "before": 1}
    assert store.history()[3].by == "bob"
    assert store.history()[0].by == getpass.getuser()
    assert [event.at for event in store.history()] == sorted((e.at for e in store.history()), reverse=True)
    assert store.history(limit=2) == store.history()[:2]
    assert store.history(name="nothing") == []


def test_whoever_has_no_name_has_a_number(store: Store, saved: Prompts, monkeypatch: pytest.MonkeyPatch) -> None:
    def unnamed() -> str:
        raise OSError("No username set in the environment")

    monkeypatch.setattr(getpass, "getuser", unnamed)
    assert store.add(saved[0], "reviews").created_by.startswith("user ")


def test_what_is_refused_leaves_no_trace(store: Store, saved: Prompts) -> None:
    store.add(saved[0], "reviews")
    before = store.prompts(), store.history()
    for change, reference in ((store.remove, "reviews"), (store.roll_back, "reviews"), (store.activate, "reviews@2")):
        with pytest.raises(StoreError):
            change(reference)
    assert (store.prompts(), store.history()) == before
