"""A repository of the Hub: its name, what the Hub says about it, and which of its files are a saved prompt's."""

from __future__ import annotations

from importlib.metadata import version

from huggingface_hub import HfApi, ModelInfo
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, by its documentation

from softprompt.asking import TIMEOUT_SECONDS
from softprompt.errors import SettingError
from softprompt.hub.answers import hub_errors
from softprompt.saved import manifest as manifests
from softprompt.saved import peft_format
from softprompt.saved.own_files import OWN_TENSORS

PROMPT_FILES = (manifests.FILE, peft_format.CONFIG, peft_format.TENSORS, OWN_TENSORS)
CARD = "README.md"


def client() -> HfApi:
    """The Hub's client. It takes the token from where huggingface_hub keeps it; we never see it."""
    return HfApi(library_name="softprompt", library_version=version("softprompt"))


def is_name(name: str) -> bool:
    """Whether the Hub could have a repository of this name."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def check_name(repository: str) -> None:
    """Refuse what is no `OWNER/NAME`.

    Raises:
        SettingError: it is none.
    """
    if not is_name(repository) or "/" not in repository:
        raise SettingError(f"{repository!r} is no repository of the Hub: write OWNER/NAME, such as acme/reviews")


def find(repository: str, revision: str | None = None) -> ModelInfo:
    """What the Hub says about a repository.

    It is asked once, with a limit of time, before anything is sent: huggingface_hub would go on trying for most of a
    minute without a network.

    Raises:
        NoNetwork: the Hub cannot be reached.
        HubRefused: it does not answer this account.
        RepositoryNotFound: there is no such repository or revision.
    """
    with hub_errors(repository, revision):
        return client().model_info(repository, revision=revision, timeout=TIMEOUT_SECONDS)


def files_of(info: ModelInfo) -> set[str]:
    """The paths of a repository's files."""
    return {each.rfilename for each in info.siblings or []}
