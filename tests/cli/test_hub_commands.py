"""`softprompt push` and `softprompt pull`, with a Hub on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from softprompt.saved import SavedPrompt
from tests.cli.conftest import Softprompt, files
from tests.hub.fake_hub import TOKEN, FakeHub, Repository, connected

NAME = "acme/reviews"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """Fake Hub that huggingface_hub is connected to."""
    with connected(monkeypatch, tmp_path / "huggingface") as fake:
        yield fake


def test_pull_restores_a_pushed_prompt(softprompt: Softprompt, hub: FakeHub, classifier: Path, tmp_path: Path) -> None:
    pushed = softprompt("push", classifier, NAME, "--message", "first", "--private", "--json").json
    there = hub.repositories[NAME]
    assert pushed == {
        "repository": NAME,
        "url": f"{hub.url}/{NAME}",
        "commit": there.sha(),
        "changed": True,
        "files": ["adapter_config.json", "adapter_model.safetensors", "softprompt.json", "README.md"],
        "content_hash": pushed["content_hash"],
    }
    assert there.private
    assert there.messages[-1] == "first"
    pulled = softprompt("pull", NAME, tmp_path / "p", "--json").json
    assert pulled == {
        "prompt": str(tmp_path / "p"),
        "repository": NAME,
        "commit": there.sha(),
        "files": sorted(files(tmp_path / "p")),
        "content_hash": pushed["content_hash"],
    }
    assert (
        SavedPrompt.from_folder(tmp_path / "p").manifest.tensors_sha256
        == SavedPrompt.from_folder(classifier).manifest.tensors_sha256
    )


def test_a_pulled_prompt_works_like_the_original(
    softprompt: Softprompt, hub: FakeHub, classifier: Path, base: Path, tmp_path: Path
) -> None:
    assert softprompt("push", classifier, NAME).code == 0
    assert softprompt("pull", NAME, tmp_path / "p").code == 0
    question = ["a film", "--model", base, "--json"]
    assert softprompt("classify", tmp_path / "p", *question).json == softprompt("classify", classifier, *question).json


def test_push_and_pull_print_repository_and_folder(
    softprompt: Softprompt, hub: FakeHub, classifier: Path, base: Path, tmp_path: Path
) -> None:
    ran = softprompt("push", classifier, NAME)
    assert f"README.md to {hub.url}/{NAME}." in ran.out
    ran = softprompt("push", classifier, NAME)
    assert f"{hub.url}/{NAME} already holds this prompt." in ran.out
    ran = softprompt("pull", NAME, tmp_path / "[/p]")
    assert f"Pulled 3 virtual tokens for ./{base.name} into {tmp_path}/[/p]." in ran.out


def test_pull_takes_a_revision_and_overwrites_on_request(
    softprompt: Softprompt, hub: FakeHub, classifier: Path, writer: Path, tmp_path: Path
) -> None:
    first = softprompt("push", classifier, NAME, "--json").json["commit"]
    assert softprompt("push", writer, NAME).code == 0
    assert softprompt("pull", NAME, tmp_path / "p", "--revision", first).code == 0
    assert SavedPrompt.from_folder(tmp_path / "p").manifest.method["name"] == "prefix"
    softprompt("pull", NAME, tmp_path / "p").refused("p exists", "--overwrite")
    assert softprompt("pull", NAME, tmp_path / "p", "--overwrite").code == 0
    assert SavedPrompt.from_folder(tmp_path / "p").manifest.method["name"] == "prompt"


def test_invalid_pushes_and_pulls_are_rejected(
    softprompt: Softprompt, hub: FakeHub, classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["acme/adapter"] = Repository(commits=[{"adapter_config.json": b"{}"}])
    softprompt("push", classifier, "reviews").refused("write OWNER/NAME")
    softprompt("push", tmp_path, NAME).refused("is not a saved prompt")
    softprompt("push", classifier, "other/reviews").refused("no write access", "choose another name")
    softprompt("pull", "acme/nothing", tmp_path / "p").refused("acme/nothing does not exist on the Hub")
    softprompt("pull", "acme/adapter", tmp_path / "p").refused("softprompt import")
    monkeypatch.delenv("HF_TOKEN")
    softprompt("push", classifier, NAME).refused("not logged in", "hf auth login")
    assert not (tmp_path / "p").exists()
    assert list(hub.repositories) == ["acme/adapter"]


@pytest.mark.parametrize("request_", ["GET /api/models/acme", "POST /api/repos/create", "POST /api/models/acme"])
def test_the_hub_token_is_never_printed_or_logged(
    softprompt: Softprompt, hub: FakeHub, classifier: Path, request_: str, caplog: pytest.LogCaptureFixture
) -> None:
    hub.faults[request_] = 403
    caplog.set_level("DEBUG")
    ran = softprompt("--debug", "push", classifier, NAME)
    assert ran.code == 2
    assert "no write access" in ran.err
    assert TOKEN not in ran.err + ran.out + caplog.text
