"""Pushing a saved prompt and its model card to the Hub, in one commit."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, ModelInfo, get_token

from softprompt.errors import HubRequestRejected, OutputExists, RepositoryNotFound, SettingError
from softprompt.hub.base_model_source import detect_source
from softprompt.hub.hub_errors import translate_hub_errors
from softprompt.hub.local_paths import strip_local_paths
from softprompt.hub.model_card import build_model_card
from softprompt.hub.repository import (
    MODEL_CARD_FILE,
    PROMPT_FILES,
    check_repo_id,
    create_hub_client,
    get_repo_info,
    list_repo_files,
)
from softprompt.saved import SavedPrompt
from softprompt.saved.manifest import MANIFEST_FILE, is_distilled

logger = logging.getLogger(__name__)

#: Files that the Hub creates by itself, or that a person may add before the first push.
ALLOWED_EXISTING_FILES = {".gitattributes", MODEL_CARD_FILE, "LICENSE"}


@dataclass(frozen=True)
class PushResult:
    """The result of a push.

    Attributes:
        repo_id: repository, `OWNER/NAME`.
        url: URL of the repository's page.
        commit: hash of the commit that contains the prompt.
        is_new_commit: whether the push created a commit; False if the repository was up to date.
        prompt: the saved prompt, as pushed.
    """

    repo_id: str
    url: str
    commit: str
    is_new_commit: bool
    prompt: SavedPrompt


def push_to_hub(
    prompt: SavedPrompt | str | Path, repo_id: str, *, private: bool = False, commit_message: str | None = None
) -> PushResult:
    """Push a saved prompt with its model card to the Hub, in one commit. The repository is created if necessary.

    Args:
        prompt: a saved prompt, or its folder, which is checked first.
        repo_id: repository, `OWNER/NAME`.
        private: create a private repository.
        commit_message: message of the commit; None for a default message.

    Raises:
        SavedPromptError: the folder is not a saved prompt, or the prompt is corrupt.
        SettingError: invalid `repo_id`, or `private` is True and the repository is public.
        OutputExists: the repository contains something else.
        HubUnreachable: the Hub cannot be reached.
        HubRequestRejected: not logged in, or no write access.
    """
    check_repo_id(repo_id)
    prompt = prompt if isinstance(prompt, SavedPrompt) else SavedPrompt.from_folder(prompt)
    _check_logged_in(repo_id)
    existing = _find_existing_repo(repo_id)
    _check_target_repo(repo_id, existing, private)
    if is_distilled(prompt.manifest) and not (private or (existing is not None and existing.private)):
        logger.warning(
            "the prompt holds the content of the text that it was distilled from, and %s is public: make it private if "
            "the text is not public",
            repo_id,
        )
    base_source = detect_source(prompt.manifest.base.name)
    pushed_prompt = strip_local_paths(prompt, base_source)
    model_card = build_model_card(pushed_prompt, repo_id, base_source)
    files = {**pushed_prompt.files, MODEL_CARD_FILE: model_card.encode()}
    default_message = f"Soft prompt of {pushed_prompt.manifest.num_virtual_tokens} virtual tokens"
    with translate_hub_errors(repo_id):
        if existing is None:
            create_hub_client().create_repo(repo_id, private=private or None)
        commit = create_hub_client().create_commit(
            repo_id,
            _build_commit_operations(files, existing),
            commit_message=commit_message or default_message,
            parent_commit=existing.sha if existing else None,  # rejected if another client pushed meanwhile
        )
    is_new_commit = existing is None or commit.oid != existing.sha
    return PushResult(repo_id, f"{create_hub_client().endpoint}/{repo_id}", commit.oid, is_new_commit, pushed_prompt)


def _check_logged_in(repo_id: str) -> None:
    with translate_hub_errors(repo_id):
        token = get_token()
    if token is None:
        raise HubRequestRejected(
            "not logged in to the Hub: run  hf auth login  or set HF_TOKEN to a token that may write"
        )


def _find_existing_repo(repo_id: str) -> ModelInfo | None:
    try:
        return get_repo_info(repo_id)
    except RepositoryNotFound:
        return None


def _check_target_repo(repo_id: str, existing: ModelInfo | None, private: bool) -> None:
    """Check that a push would neither overwrite other content nor publish a private prompt."""
    if existing is None:
        return
    if private and existing.private is False:
        raise SettingError(
            f"{repo_id} exists and is public, so `private=True` has no effect: make it private on its page, or choose "
            "another name"
        )
    files = list_repo_files(existing)
    if MANIFEST_FILE not in files and files - ALLOWED_EXISTING_FILES:
        raise OutputExists(f"{repo_id} exists and is not a saved prompt: choose another name")


def _build_commit_operations(
    files: dict[str, bytes], existing: ModelInfo | None
) -> list[CommitOperationAdd | CommitOperationDelete]:
    """Add all files, and delete files of a previous prompt that would be read instead."""
    stale = sorted((list_repo_files(existing) if existing else set()) & set(PROMPT_FILES) - set(files))
    return [
        *(CommitOperationAdd(name, content) for name, content in sorted(files.items())),
        *(CommitOperationDelete(name, is_folder=False) for name in stale),
    ]
