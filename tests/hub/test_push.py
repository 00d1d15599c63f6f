"""Pushing prompts to a Hub on loopback: the files of a commit, and rejected pushes, which commit nothing."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from softprompt.errors import (
    CorruptPrompt,
    HubRequestRejected,
    HubUnreachable,
    NotASavedPrompt,
    OutputExists,
    SettingError,
)
from softprompt.hub import pull_from_hub, push_to_hub
from softprompt.model import Placement
from softprompt.saved import SavedPrompt
from tests.hub.fake_hub import TOKEN, FakeHub, Repository, connect
from tests.saved.factories import content, make, random_head
from tests.tiny import shared_model

NAME = "acme/reviews"
ADAPTER = {"softprompt.json", "adapter_config.json", "adapter_model.safetensors"}


def renamed(saved: SavedPrompt, base: str) -> SavedPrompt:
    """The prompt as if its base had been loaded by another name."""
    model = shared_model("llama")
    before, model.name = model.name, base
    try:
        return SavedPrompt.from_payload(
            model,
            saved.payload,
            saved.manifest.task,
            method=saved.manifest.method,
            trained_parameters=72,
            metrics=saved.manifest.metrics,
        )
    finally:
        model.name = before


def test_the_prompts_files_and_a_card_arrive_in_one_commit(hub: FakeHub, folder: Path) -> None:
    (folder / "notes.txt").write_text("not the prompt's")
    pushed = push_to_hub(folder, NAME)
    there = hub.repositories[NAME]
    assert len(there.commits) == 2
    assert set(there.files) == {".gitattributes", "README.md", *ADAPTER}
    assert there.files["adapter_model.safetensors"] == (folder / "adapter_model.safetensors").read_bytes()
    assert pushed == replace(pushed, repo_id=NAME, url=f"{hub.url}/{NAME}", commit=there.sha(), is_new_commit=True)


@pytest.mark.parametrize(("is_private", "name"), [(False, "distillation"), (True, "distillation"), (False, "prefix")])
def test_a_public_push_of_a_distilled_prompt_warns_that_it_holds_the_text(
    hub: FakeHub, saved: SavedPrompt, caplog: pytest.LogCaptureFixture, is_private: bool, name: str
) -> None:
    source = {"kind": "document", "path": "/home/ada/handbook.md", "sha256": "0" * 64, "num_tokens": 949}
    manifest = saved.manifest.model_copy(update={"method": {"name": name, "source": source}}).with_content_hash()
    files = {**saved.files, "softprompt.json": manifest.to_json().encode()}
    pushed = push_to_hub(replace(saved, manifest=manifest, files=files), NAME, private=is_private)
    assert ("holds the content of the text" in caplog.text) == (not is_private and name == "distillation")
    assert pushed.prompt.manifest.method["source"]["path"] == "handbook.md"


def test_a_prompt_for_a_base_model_on_the_hub_is_pushed_and_pulled_unchanged(
    hub: FakeHub, saved: SavedPrompt, tmp_path: Path
) -> None:
    hub.repositories["tiny/llama"] = Repository()
    prompt = renamed(saved, "tiny/llama")
    prompt.save_to(tmp_path / "p")
    push_to_hub(tmp_path / "p", NAME)
    pulled = pull_from_hub(NAME, tmp_path / "back")
    assert content(tmp_path / "back") == content(tmp_path / "p")
    assert pulled.prompt.manifest.content_hash == prompt.manifest.content_hash


@pytest.mark.parametrize("base", ["/home/alice/models/tiny", "models/tiny", "..\\models\\tiny", "~/tiny", "./tiny"])
def test_the_local_path_of_the_base_model_is_not_published(
    hub: FakeHub, saved: SavedPrompt, tmp_path: Path, base: str
) -> None:
    push_to_hub(renamed(saved, base), NAME)
    files = hub.repositories[NAME].files
    for name in ("README.md", "softprompt.json", "adapter_config.json"):
        text = files[name].decode()
        assert base == "./tiny" or base not in text.replace("\\\\", "\\")
        assert "./tiny" in text
    assert "a local folder" in files["README.md"].decode()
    assert pull_from_hub(NAME, tmp_path / "back").prompt.manifest.base.name == "./tiny"


def test_the_local_path_of_the_initial_prompt_is_not_published(hub: FakeHub, saved: SavedPrompt) -> None:
    method = {"name": "prefix", "init": "prompt:/home/alice/prompts/first"}
    manifest = saved.manifest.model_copy(update={"method": method}).with_content_hash()
    push_to_hub(replace(saved, manifest=manifest), NAME)
    assert json.loads(hub.repositories[NAME].files["softprompt.json"])["method"]["init"] == "prompt:first"
    assert not any(b"alice" in file for file in hub.repositories[NAME].files.values())


@pytest.mark.parametrize(
    ("path", "published"),
    [
        ("/home/alice/secret/system.txt", "system.txt"),
        ("..\\alice\\system.txt", "system.txt"),
        ("~", "text"),
        ("hf:tiny/shots", "hf:tiny/shots"),
    ],
)
def test_the_local_path_of_a_distilled_text_is_not_published(
    hub: FakeHub, saved: SavedPrompt, path: str, published: str
) -> None:
    source = {"kind": "context", "path": path, "sha256": "0f", "num_tokens": 9}
    method = {"name": "distillation", "source": source, "init": "last-tokens"}
    manifest = saved.manifest.model_copy(update={"method": method}).with_content_hash()
    push_to_hub(replace(saved, manifest=manifest), NAME)
    pushed = json.loads(hub.repositories[NAME].files["softprompt.json"])["method"]
    assert pushed == {**method, "source": {**source, "path": published}}
    assert not any(b"alice" in file for file in hub.repositories[NAME].files.values())


def test_pushing_a_pulled_prompt_creates_no_commit(hub: FakeHub, saved: SavedPrompt, tmp_path: Path) -> None:
    first = push_to_hub(renamed(saved, "/home/alice/models/tiny"), NAME)
    pull_from_hub(NAME, tmp_path / "back")
    again = push_to_hub(tmp_path / "back", NAME)
    assert not again.is_new_commit
    assert again.commit == first.commit
    assert len(hub.repositories[NAME].commits) == 2


@pytest.mark.parametrize("private", [True, False])
def test_a_new_repository_is_private_on_request(hub: FakeHub, saved: SavedPrompt, private: bool) -> None:
    push_to_hub(saved, NAME, private=private)
    assert hub.repositories[NAME].private is private
    push_to_hub(saved, NAME, private=private, commit_message="again")  # and a private one can be pushed to again


def test_a_private_push_to_a_public_repository_is_rejected(hub: FakeHub, saved: SavedPrompt) -> None:
    hub.repositories[NAME] = Repository()
    with pytest.raises(SettingError, match="exists and is public, so `private=True` has no effect"):
        push_to_hub(saved, NAME, private=True)
    assert len(hub.repositories[NAME].commits) == 1


def test_the_commit_has_the_given_or_the_default_message(hub: FakeHub, saved: SavedPrompt) -> None:
    push_to_hub(saved, NAME, commit_message="Better on long reviews")
    push_to_hub(make(method="p-tuning"), NAME)
    assert hub.repositories[NAME].messages[1:] == ["Better on long reviews", "Soft prompt of 3 virtual tokens"]


def test_pushing_another_prompt_removes_the_files_of_the_earlier_one(hub: FakeHub, tmp_path: Path) -> None:
    model = shared_model("llama")
    with_head = make(head=random_head(model))
    assert "prompt.safetensors" in with_head.files
    for prompt in (make(), with_head, make()):
        push_to_hub(prompt, NAME)
        assert set(hub.repositories[NAME].files) == {".gitattributes", "README.md", *prompt.files}
        pulled = pull_from_hub(NAME, tmp_path / "back", overwrite=True)
        assert pulled.prompt.manifest.tensors_sha256 == prompt.manifest.tensors_sha256


def test_pushing_to_a_repository_that_is_not_a_prompt_is_rejected(hub: FakeHub, saved: SavedPrompt) -> None:
    model = {"config.json": b"{}", "model.safetensors": b"weights", "README.md": b"my model"}
    hub.repositories[NAME] = Repository(commits=[model])
    with pytest.raises(OutputExists, match="is not a saved prompt: choose another name"):
        push_to_hub(saved, NAME)
    assert hub.repositories[NAME].commits == [model]


def test_pushing_a_corrupt_or_missing_prompt_is_rejected_before_any_request(
    hub: FakeHub, folder: Path, tmp_path: Path
) -> None:
    (folder / "adapter_model.safetensors").write_bytes(b"something else")
    with pytest.raises(CorruptPrompt):
        push_to_hub(folder, NAME)
    with pytest.raises(NotASavedPrompt):
        push_to_hub(tmp_path / "nowhere", NAME)
    assert hub.requests == []


@pytest.mark.parametrize("name", ["reviews", "acme/reviews/two", "acme/re views", "", "acme/..", "./acme/reviews"])
def test_pushing_to_an_invalid_repository_name_is_rejected(hub: FakeHub, saved: SavedPrompt, name: str) -> None:
    with pytest.raises(SettingError, match="write OWNER/NAME"):
        push_to_hub(saved, name)
    assert hub.requests == []


def test_a_push_without_login_is_rejected(hub: FakeHub, saved: SavedPrompt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubRequestRejected, match="not logged in to the Hub: run  hf auth login  or set HF_TOKEN"):
        push_to_hub(saved, NAME)
    assert hub.requests == []


def test_pushing_with_an_unknown_token_is_rejected_without_naming_the_token(hub: FakeHub, saved: SavedPrompt) -> None:
    hub.accounts.clear()
    with pytest.raises(HubRequestRejected, match="does not accept this token") as caught:
        push_to_hub(saved, NAME)
    assert TOKEN not in str(caught.value)


def test_a_push_without_write_access_is_rejected(hub: FakeHub, saved: SavedPrompt) -> None:
    for there in (False, True):
        with pytest.raises(HubRequestRejected, match=r"no write access to other/reviews \(You don't have the rights"):
            push_to_hub(saved, "other/reviews")
        hub.repositories["other/reviews"] = Repository()
        assert there or len(hub.repositories["other/reviews"].commits) == 1


def test_pushing_without_a_network_fails_within_seconds(
    hub: FakeHub, saved: SavedPrompt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    connect("http://127.0.0.1:9", monkeypatch, tmp_path)
    began = time.monotonic()
    with pytest.raises(
        HubUnreachable, match="cannot be reached for acme/reviews, or the connection broke: connect and run again"
    ):
        push_to_hub(saved, NAME)
    assert time.monotonic() - began < 5


def test_the_error_of_a_push_in_offline_mode_names_hf_hub_offline(
    hub: FakeHub, saved: SavedPrompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnreachable, match="HF_HUB_OFFLINE is set"):
        push_to_hub(saved, NAME)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("request_", "status", "error"),
    [
        ("GET /api/models/acme", 503, HubUnreachable),
        ("POST /api/repos/create", 409, HubRequestRejected),
        ("POST /api/models/acme/reviews/commit", 500, HubUnreachable),
        ("POST /api/models/acme/reviews/commit", 403, HubRequestRejected),
        ("POST /api/models/acme/reviews/commit", 412, HubRequestRejected),
        ("PUT /lfs", 403, HubRequestRejected),
    ],
)
def test_a_push_that_the_hub_rejects_leaves_no_partial_prompt(
    hub: FakeHub, saved: SavedPrompt, request_: str, status: int, error: type[Exception]
) -> None:
    hub.faults[request_] = status
    with pytest.raises(error, match="acme/reviews"):
        push_to_hub(saved, NAME)
    assert all(len(there.commits) == 1 for there in hub.repositories.values())


def test_a_prompt_that_peft_cannot_express_is_pushed_without_an_adapter(hub: FakeHub, tmp_path: Path) -> None:
    saved = make()
    push_to_hub(make(replace(saved.payload, placement=Placement.AFTER_BOS)), NAME)
    card = hub.repositories[NAME].files["README.md"].decode()
    assert "Not possible: peft cannot express virtual tokens after-bos" in card
    assert set(hub.repositories[NAME].files) == {".gitattributes", "README.md", "softprompt.json", "prompt.safetensors"}
    assert pull_from_hub(NAME, tmp_path / "back").prompt.payload.placement is Placement.AFTER_BOS
