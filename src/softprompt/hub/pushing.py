"""Send a saved prompt and its card to the Hub, in one commit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, ModelInfo, get_token

from softprompt.errors import HubRefused, OutputExists, RepositoryNotFound, SettingError
from softprompt.hub.answers import hub_errors
from softprompt.hub.card import card
from softprompt.hub.origin import origin, shareable
from softprompt.hub.repository import CARD, PROMPT_FILES, check_name, client, files_of, find
from softprompt.saved import SavedPrompt
from softprompt.saved.manifest import FILE

#: What the Hub puts into a repository by itself, or a person before the first push.
UNTAKEN = {".gitattributes", CARD, "LICENSE"}


@dataclass(frozen=True)
class Pushed:
    """What is on the Hub now.

    Attributes:
        repository: `OWNER/NAME`.
        url: its page.
        commit: the hash of the commit that holds the prompt.
        changed: whether there is a new commit; False if all of it was there already.
        prompt: as it was sent.
    """

    repository: str
    url: str
    commit: str
    changed: bool
    prompt: SavedPrompt


def push(
    prompt: SavedPrompt | str | Path, repository: str, *, private: bool = False, message: str | None = None
) -> Pushed:
    """Send a saved prompt to the Hub: its own files and a card, in one commit, into a repository made if need be.

    Args:
        prompt: a saved prompt or its folder, which is checked first.
        repository: `OWNER/NAME`.
        private: make a repository that only its owner sees.
        message: the commit's; in words of ours by default.

    Raises:
        SavedPromptError: the folder is no saved prompt, or a damaged one.
        SettingError: the name is none, or the repository is there and public though `private` was said.
        OutputExists: the repository holds something else.
        NoNetwork: the Hub cannot be reached.
        HubRefused: not logged in, or not allowed.
    """
    check_name(repository)
    saved = prompt if isinstance(prompt, SavedPrompt) else SavedPrompt.read(prompt)
    _check_logged_in(repository)
    there = _existing(repository)
    _check_place(repository, there, private)
    base = origin(saved.manifest.base.name)
    sent = shareable(saved, base)
    files = {**sent.files, CARD: card(sent, repository, base).encode()}
    with hub_errors(repository):
        if there is None:
            client().create_repo(repository, private=private or None)
        commit = client().create_commit(
            repository,
            _operations(files, there),
            commit_message=message or f"Soft prompt of {sent.manifest.num_virtual_tokens} virtual tokens",
            parent_commit=there.sha if there else None,  # refused if somebody else pushed meanwhile
        )
    changed = there is None or commit.oid != there.sha
    return Pushed(repository, f"{client().endpoint}/{repository}", commit.oid, changed, sent)


def _check_logged_in(repository: str) -> None:
    with hub_errors(repository):
        token = get_token()
    if token is None:
        raise HubRefused("not logged in to the Hub: run  hf auth login  or set HF_TOKEN to a token that may write")


def _existing(repository: str) -> ModelInfo | None:
    try:
        return find(repository)
    except RepositoryNotFound:
        return None


def _check_place(repository: str, there: ModelInfo | None, private: bool) -> None:
    """Refuse a repository in which a push would destroy, or publish, what it should not."""
    if there is None:
        return
    if private and there.private is False:
        raise SettingError(
            f"{repository} exists and is public, so `private=True` cannot hold: make it private on its page, or choose "
            "another name"
        )
    files = files_of(there)
    if FILE not in files and files - UNTAKEN:
        raise OutputExists(f"{repository} exists and holds no saved prompt: choose another name")


def _operations(files: dict[str, bytes], there: ModelInfo | None) -> list[CommitOperationAdd | CommitOperationDelete]:
    """Add these files; take away those of an earlier prompt that would be read in their place."""
    stale = sorted((files_of(there) if there else set()) & set(PROMPT_FILES) - set(files))
    return [
        *(CommitOperationAdd(name, content) for name, content in sorted(files.items())),
        *(CommitOperationDelete(name, is_folder=False) for name in stale),
    ]
