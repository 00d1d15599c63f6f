"""Pulling prompts from a Hub on loopback: a failed pull leaves no files."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from softprompt.errors import (
    CorruptPrompt,
    HubRequestRejected,
    HubUnreachable,
    NotASavedPrompt,
    OutputExists,
    RepositoryNotFound,
    SettingError,
    SoftPromptError,
    UnsupportedPromptFormat,
)
from softprompt.hub import pull_from_hub, push_to_hub
from softprompt.saved import SavedPrompt
from tests.hub.fake_hub import FakeHub, Repository, connect, environment
from tests.saved.factories import content, make

NAME = "acme/reviews"


@pytest.fixture
def there(hub: FakeHub, saved: SavedPrompt) -> Repository:
    """A repository with a prompt."""
    push_to_hub(saved, NAME)
    hub.requests.clear()
    return hub.repositories[NAME]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a prompt is to be, in an empty folder."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "p"


def refused(
    place: Path, error: type[SoftPromptError], words: str, name: str = NAME, revision: str | None = None
) -> None:
    """The pull fails like this, and nothing at all is left where the prompt was to be."""
    with pytest.raises(error, match=words) as caught:
        pull_from_hub(name, place, revision=revision)
    assert list(place.parent.iterdir()) == []
    assert "softprompt-" not in str(caught.value)  # the temporary folder's name says nothing to anybody


def test_a_pushed_prompt_is_pulled_unchanged(there: Repository, place: Path) -> None:
    pulled = pull_from_hub(NAME, str(place))
    sent = {name: file for name, file in there.files.items() if name not in (".gitattributes", "README.md")}
    assert content(place) == sent == pulled.prompt.files
    assert pulled.commit == there.sha()
    assert SavedPrompt.from_folder(place).manifest == pulled.prompt.manifest


def test_only_the_prompts_files_are_downloaded(hub: FakeHub, there: Repository, place: Path) -> None:
    there.commits[-1] |= {"model.safetensors": b"large", "notes/softprompt.json": b"{}", "run.py": b"evil"}
    pull_from_hub(NAME, place)
    assert len(list(place.iterdir())) == 3
    assert hub.count("GET /acme/reviews/resolve") == 3


def test_pulling_a_revision_returns_the_prompt_of_that_commit(there: Repository, place: Path) -> None:
    first = there.sha()
    push_to_hub(make(method="p-tuning"), NAME)
    assert pull_from_hub(NAME, place, revision=first).prompt.manifest.method["name"] == "prompt"
    assert pull_from_hub(NAME, place, overwrite=True).prompt.manifest.method["name"] == "p-tuning"
    with pytest.raises(RepositoryNotFound, match="no revision 'v7': use a branch"):
        pull_from_hub(NAME, place, revision="v7", overwrite=True)
    assert SavedPrompt.from_folder(place).manifest.method["name"] == "p-tuning"


def test_pulling_into_an_existing_folder_is_rejected_before_any_request(
    hub: FakeHub, there: Repository, folder: Path
) -> None:
    before = content(folder)
    with pytest.raises(OutputExists, match="`overwrite=True`"):
        pull_from_hub(NAME, folder)
    assert content(folder) == before
    assert hub.requests == []


def test_pulling_never_overwrites_a_folder_that_is_not_a_saved_prompt(there: Repository, place: Path) -> None:
    place.mkdir()
    (place / "photo.jpg").touch()
    with pytest.raises(OutputExists, match="is not a saved prompt"):
        pull_from_hub(NAME, place, overwrite=True)


def test_pulling_an_unknown_repository_is_rejected(hub: FakeHub, place: Path) -> None:
    refused(place, RepositoryNotFound, "acme/nothing does not exist on the Hub", name="acme/nothing")
    refused(place, SettingError, "write OWNER/NAME", name="nothing")


def test_pulling_a_private_repository_needs_a_login(
    hub: FakeHub, there: Repository, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there.private = True
    monkeypatch.delenv("HF_TOKEN")
    refused(place, RepositoryNotFound, "or is private .* hf auth login")
    there.private = False
    pull_from_hub(NAME, place)  # and a public one needs no login


def test_pulling_a_gated_repository_is_rejected(there: Repository, place: Path) -> None:
    there.gated = True
    refused(place, HubRequestRejected, "is gated: ask for access")


def test_the_error_of_pulling_a_peft_adapter_recommends_softprompt_import(there: Repository, place: Path) -> None:
    del there.files["softprompt.json"]
    refused(place, NotASavedPrompt, "acme/reviews is a peft adapter .* softprompt import")


def test_pulling_a_repository_without_a_prompt_is_rejected(hub: FakeHub, place: Path) -> None:
    hub.repositories[NAME] = Repository()
    refused(place, NotASavedPrompt, "acme/reviews is not a saved prompt")


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("softprompt.json", lambda text: text.replace(b"0.75", b"0.95")),
        ("softprompt.json", lambda text: text[:100]),
        ("adapter_model.safetensors", lambda numbers: numbers[:-4] + b"\0\0\0\0"),
        ("adapter_model.safetensors", lambda numbers: numbers[:-4]),
        ("adapter_config.json", lambda text: text.replace(b"PROMPT_TUNING", b"P_TUNING")),
    ],
)
def test_pulling_a_manipulated_prompt_is_rejected_and_leaves_no_files(
    there: Repository, place: Path, file: str, change: Callable[[bytes], bytes]
) -> None:
    there.commits.append({**there.files, file: change(there.files[file])})
    refused(place, CorruptPrompt, f"acme/reviews/{file}")


def test_a_corrupt_download_is_rejected_and_leaves_no_files(hub: FakeHub, there: Repository, place: Path) -> None:
    hub.faults[f"GET /acme/reviews/resolve/{there.sha()}/adapter_model"] = lambda numbers: numbers[::-1]
    refused(place, CorruptPrompt, "its hash does not match the manifest")


def test_pulling_a_prompt_with_a_missing_file_is_rejected(there: Repository, place: Path) -> None:
    del there.files["adapter_model.safetensors"]
    refused(place, CorruptPrompt, "acme/reviews/adapter_model.safetensors is missing")


def test_pulling_a_prompt_of_a_later_format_is_rejected(there: Repository, place: Path) -> None:
    there.files["softprompt.json"] = b'{"format": 2}'
    refused(place, UnsupportedPromptFormat, "upgrade softprompt")


def test_a_server_error_of_the_hub_raises_hub_unreachable(hub: FakeHub, there: Repository, place: Path) -> None:
    hub.faults[f"GET /acme/reviews/resolve/{there.sha()}/adapter_model"] = 500
    refused(place, HubUnreachable, "the Hub returned status 500 for acme/reviews: try again later")


def test_pulling_without_a_network_fails_within_seconds(
    hub: FakeHub, place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    connect("http://127.0.0.1:9", monkeypatch, tmp_path)
    began = time.monotonic()
    refused(place, HubUnreachable, "cannot be reached for acme/reviews, or the connection broke: connect and run again")
    assert time.monotonic() - began < 5


def test_a_failed_pull_leaves_the_existing_prompt_unchanged(there: Repository, folder: Path) -> None:
    before = content(folder)
    there.files["softprompt.json"] = b"{"
    with pytest.raises(CorruptPrompt):
        pull_from_hub(NAME, folder, overwrite=True)
    assert content(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_pull_that_is_killed_during_the_download_leaves_no_files(
    hub: FakeHub, there: Repository, place: Path, tmp_path: Path
) -> None:
    reached, done = threading.Event(), threading.Event()

    def stall(numbers: bytes) -> bytes:
        reached.set()
        done.wait(60)
        return numbers

    hub.faults[f"GET /acme/reviews/resolve/{there.sha()}/adapter_model"] = stall
    process = subprocess.Popen(
        [sys.executable, "-c", f"import softprompt; softprompt.pull_from_hub({NAME!r}, {str(place)!r})"],
        env={**os.environ, **environment(hub, tmp_path / "home"), "TMPDIR": str(tmp_path)},
        stderr=subprocess.DEVNULL,
    )
    try:
        assert reached.wait(60)
    finally:
        process.kill()
        process.wait()
        done.set()
    assert list(place.parent.iterdir()) == []
