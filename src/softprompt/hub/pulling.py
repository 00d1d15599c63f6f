"""Fetch a saved prompt from the Hub: into a temporary folder, checked there, and then whole into its place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import ModelInfo

from softprompt.errors import NotASavedPrompt, SavedPromptError, disk_errors
from softprompt.hub.answers import hub_errors
from softprompt.hub.repository import PROMPT_FILES, check_name, client, files_of, find
from softprompt.saved import SavedPrompt
from softprompt.saved.manifest import FILE
from softprompt.saved.output_folder import check_free
from softprompt.saved.peft_format import CONFIG


@dataclass(frozen=True)
class Pulled:
    """A prompt that came from the Hub.

    Attributes:
        repository: `OWNER/NAME`.
        commit: the hash of the commit it is of.
        prompt: as it lies in its folder.
    """

    repository: str
    commit: str
    prompt: SavedPrompt


def pull(repository: str, folder: str | Path, *, revision: str | None = None, overwrite: bool = False) -> Pulled:
    """Fetch a saved prompt from the Hub, check it, and write it into a folder, whole or not at all.

    Args:
        repository: `OWNER/NAME`.
        folder: where the prompt is to be.
        revision: a branch, a tag or a commit; the newest by default.
        overwrite: replace a saved prompt that is there.

    Raises:
        SettingError: the name is none, or the folder cannot be written.
        OutputExists: something is there and `overwrite` was not said.
        RepositoryNotFound: no such repository or revision, as far as this account can see.
        NotASavedPrompt: the repository holds something else.
        DamagedPrompt: what came is not what was pushed.
        NewerPrompt: a later softprompt wrote it.
        NoNetwork: the Hub cannot be reached.
        HubRefused: this account may not have it.
        DiskFull: nothing was changed.
    """
    check_name(repository)
    folder = Path(folder)
    check_free(folder, overwrite)
    info = find(repository, revision)
    names = _files(repository, info)
    with TemporaryDirectory(prefix="softprompt-") as temporary:
        _download(repository, info, names, Path(temporary))
        prompt = _checked(repository, Path(temporary) / "prompt")
    prompt.write(folder, overwrite=overwrite)
    return Pulled(repository, str(info.sha), prompt)


def _files(repository: str, info: ModelInfo) -> list[str]:
    files = files_of(info)
    if FILE in files:
        return sorted(files & set(PROMPT_FILES))
    if CONFIG in files:
        raise NotASavedPrompt(
            f"{repository} is a peft adapter without {FILE}: fetch it with  hf download {repository} --local-dir "
            "adapter  and run  softprompt import adapter FOLDER"
        )
    raise NotASavedPrompt(f"{repository} holds no saved prompt: it has no {FILE}")


def _download(repository: str, info: ModelInfo, names: list[str], temporary: Path) -> None:
    """Fetch files of the commit that `info` describes, past huggingface_hub's cache: a prompt is small."""
    with disk_errors(temporary), hub_errors(repository):
        client().snapshot_download(
            repository,
            revision=info.sha,
            allow_patterns=names,
            local_dir=temporary / "prompt",
            cache_dir=temporary / "cache",
        )


def _checked(repository: str, folder: Path) -> SavedPrompt:
    try:
        return SavedPrompt.read(folder)
    except SavedPromptError as error:  # it names files: say of which repository, not of which temporary folder
        raise type(error)(str(error).replace(str(folder), repository)) from error
