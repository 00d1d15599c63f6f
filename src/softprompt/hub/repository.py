"""Repositories of the Hub: names, metadata, and the files of a saved prompt."""

from __future__ import annotations

from importlib.metadata import version

from huggingface_hub import HfApi, ModelInfo
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, by its documentation

from softprompt.errors import SettingError
from softprompt.hub.hub_errors import translate_hub_errors
from softprompt.hub_probe import HUB_TIMEOUT_S
from softprompt.saved import manifest as manifests
from softprompt.saved import peft_format
from softprompt.saved.foreign_files import PROMPT_TENSORS_FILE

PROMPT_FILES = (
    manifests.MANIFEST_FILE,
    peft_format.ADAPTER_CONFIG_FILE,
    peft_format.ADAPTER_WEIGHTS_FILE,
    PROMPT_TENSORS_FILE,
)
MODEL_CARD_FILE = "README.md"


def create_hub_client() -> HfApi:
    """Create a client for the Hub. huggingface_hub reads the token; softprompt never accesses it."""
    return HfApi(library_name="softprompt", library_version=version("softprompt"))


def is_valid_repo_id(name: str) -> bool:
    """Whether a name is valid for a repository of the Hub."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def check_repo_id(repo_id: str) -> None:
    """Check that a repository id has the form `OWNER/NAME`.

    Raises:
        SettingError: the repository id is invalid.
    """
    if not is_valid_repo_id(repo_id) or "/" not in repo_id:
        raise SettingError(f"invalid repository {repo_id!r}: write OWNER/NAME, such as acme/reviews")


def get_repo_info(repo_id: str, revision: str | None = None) -> ModelInfo:
    """Request the metadata of a repository.

    There is one request with a timeout: without a network, huggingface_hub would retry for most of a minute.

    Args:
        repo_id: repository, `OWNER/NAME`.
        revision: branch, tag or commit; None for the newest commit.

    Raises:
        HubUnreachable: the Hub cannot be reached.
        HubRequestRejected: the Hub rejects this account's request.
        RepositoryNotFound: the repository or revision does not exist.
    """
    with translate_hub_errors(repo_id, revision):
        return create_hub_client().model_info(repo_id, revision=revision, timeout=HUB_TIMEOUT_S)


def list_repo_files(info: ModelInfo) -> set[str]:
    """Return the paths of a repository's files."""
    return {file.rfilename for file in info.siblings or []}
