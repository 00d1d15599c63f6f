"""Pulling a saved prompt from the Hub: download into a temporary folder, check, and write the folder atomically."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import ModelInfo

from softprompt.errors import NotASavedPrompt, translate_os_errors
from softprompt.hub.hub_errors import translate_hub_errors
from softprompt.hub.repository import PROMPT_FILES, check_repo_id, create_hub_client, get_repo_info, list_repo_files
from softprompt.saved import SavedPrompt
from softprompt.saved.manifest import MANIFEST_FILE
from softprompt.saved.output_folder import check_output_free
from softprompt.saved.peft_format import ADAPTER_CONFIG_FILE


@dataclass(frozen=True)
class PullResult:
    """The result of a pull.

    Attributes:
        repo_id: repository, `OWNER/NAME`.
        commit: hash of the downloaded commit.
        prompt: the saved prompt, as written to the folder.
    """

    repo_id: str
    commit: str
    prompt: SavedPrompt


def pull_from_hub(
    repo_id: str, folder: str | Path, *, revision: str | None = None, overwrite: bool = False
) -> PullResult:
    """Download a saved prompt from the Hub, check it, and write its folder atomically.

    Args:
        repo_id: repository, `OWNER/NAME`.
        folder: path of the output folder.
        revision: branch, tag or commit; None for the newest commit.
        overwrite: replace an existing saved prompt.

    Raises:
        SettingError: invalid `repo_id`, or the folder cannot be written.
        OutputExists: the folder exists and `overwrite` is False.
        RepositoryNotFound: the repository or revision does not exist, or is not visible to this account.
        NotASavedPrompt: the repository does not contain a saved prompt.
        CorruptPrompt: the downloaded files differ from the pushed ones.
        UnsupportedPromptFormat: a newer softprompt wrote the prompt.
        HubUnreachable: the Hub cannot be reached.
        HubRequestRejected: this account has no access.
        DiskFull: no space is left; nothing was changed.
    """
    check_repo_id(repo_id)
    folder = Path(folder)
    check_output_free(folder, overwrite)
    info = get_repo_info(repo_id, revision)
    names = _select_prompt_files(repo_id, info)
    with TemporaryDirectory(prefix="softprompt-") as temporary:
        files = _download_files(repo_id, info, names, Path(temporary))
    prompt = SavedPrompt.from_files(files, Path(repo_id))
    prompt.save_to(folder, overwrite=overwrite)
    return PullResult(repo_id, str(info.sha), prompt)


def _select_prompt_files(repo_id: str, info: ModelInfo) -> list[str]:
    files = list_repo_files(info)
    if MANIFEST_FILE in files:
        return sorted(files & set(PROMPT_FILES))
    if ADAPTER_CONFIG_FILE in files:
        raise NotASavedPrompt(
            f"{repo_id} is a peft adapter without {MANIFEST_FILE}: download it with  hf download {repo_id} --local-dir "
            "adapter  and run  softprompt import adapter FOLDER"
        )
    raise NotASavedPrompt(f"{repo_id} is not a saved prompt: it has no {MANIFEST_FILE}")


def _download_files(repo_id: str, info: ModelInfo, file_names: list[str], temporary: Path) -> dict[str, bytes]:
    """Download files of the commit in `info`, without huggingface_hub's cache: a prompt is small."""
    folder = temporary / "prompt"
    with translate_os_errors(temporary), translate_hub_errors(repo_id):
        create_hub_client().snapshot_download(
            repo_id,
            revision=info.sha,
            allow_patterns=file_names,
            local_dir=folder,
            cache_dir=temporary / "cache",
        )
        return {name: (folder / name).read_bytes() for name in file_names}
