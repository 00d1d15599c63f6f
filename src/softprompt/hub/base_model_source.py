"""Source of a base model: bundled, the Hub, or a local folder."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from softprompt.errors import RepositoryNotFound
from softprompt.hub.repository import get_repo_info, is_valid_repo_id
from softprompt.model.bundled_models import BUNDLED_MODELS


class BaseModelSource(StrEnum):
    """The source that the name of a base model refers to."""

    BUNDLED = "bundled"
    HUB = "hub"
    FOLDER = "folder"


def detect_source(name: str) -> BaseModelSource:
    """Detect the source of a base model by its name. A name that could be a repository is looked up on the Hub.

    Raises:
        HubUnreachable: the Hub cannot be reached.
        HubRequestRejected: the Hub rejects this account's request.
    """
    if name in BUNDLED_MODELS:
        return BaseModelSource.BUNDLED
    if not is_valid_repo_id(name) or Path(name).is_dir():  # as in loading a model, a folder takes precedence
        return BaseModelSource.FOLDER
    try:
        get_repo_info(name)
    except RepositoryNotFound:
        return BaseModelSource.FOLDER
    return BaseModelSource.HUB
