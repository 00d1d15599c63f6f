"""Translation of huggingface_hub's errors into errors that name a remedy. No message contains a token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from softprompt.errors import HubRequestRejected, HubUnreachable, RepositoryNotFound, SoftPromptError, summarize_error

RETRYABLE_STATUS = (408, 429, 500, 502, 503, 504)


@contextmanager
def translate_hub_errors(repo_id: str, revision: str | None = None) -> Iterator[None]:
    """Translate errors of huggingface_hub about a repository.

    Args:
        repo_id: repository, for messages.
        revision: requested revision, for messages.

    Raises:
        HubUnreachable: the Hub cannot be reached, or failed.
        HubRequestRejected: not logged in, no access, or an invalid request.
        RepositoryNotFound: the repository or revision does not exist, or is not visible to this account.
    """
    try:
        yield
    except (httpx2.HTTPError, OSError, RuntimeError) as error:  # RuntimeError: an interrupted upload
        if _is_disk_error(error):
            raise
        root = _find_root_cause(error)
        if isinstance(root, HfHubHTTPError):
            raise _from_http_error(root, repo_id, revision) from error
        raise _from_network_error(root, repo_id) from error


def _is_disk_error(error: Exception) -> bool:
    """Whether an error is about a local file, not the Hub."""
    is_network_error = isinstance(error, httpx2.HTTPError | ConnectionError | TimeoutError)
    return isinstance(error, OSError) and error.errno is not None and not is_network_error


def _find_root_cause(error: BaseException) -> BaseException:
    """Return the HTTP or network error among the causes of an error, or the error itself."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, httpx2.HTTPError | OfflineModeIsEnabled):
            return cause
        cause = cause.__cause__
    return error


def _from_http_error(error: HfHubHTTPError, repo_id: str, revision: str | None) -> SoftPromptError:
    status = error.response.status_code
    match error:
        case GatedRepoError():
            return HubRequestRejected(
                f"{repo_id} is gated: ask for access on its page, then log in with  hf auth login  or set HF_TOKEN"
            )
        case RevisionNotFoundError():
            return RepositoryNotFound(
                f"{repo_id} has no revision {revision!r}: use a branch, a tag or a full commit hash"
            )
        case RepositoryNotFoundError():
            return RepositoryNotFound(
                f"{repo_id} does not exist on the Hub, or is private and not visible to this account: check the name, "
                "or log in with  hf auth login  or set HF_TOKEN"
            )
    if status == 401:
        return HubRequestRejected("the Hub does not accept this token: log in with  hf auth login  or correct HF_TOKEN")
    if status == 403:
        return HubRequestRejected(
            f"this account or token has no write access to {repo_id}{_server_message(error)}: choose another name, or "
            "log in with a token that has write access"
        )
    if status in RETRYABLE_STATUS:
        return HubUnreachable(f"the Hub returned status {status} for {repo_id}: try again later")
    return HubRequestRejected(
        f"the Hub rejected {repo_id} with status {status}{_server_message(error)}: correct this and run again"
    )


def _from_network_error(error: BaseException, repo_id: str) -> HubUnreachable:
    if isinstance(error, OfflineModeIsEnabled):
        return HubUnreachable(f"HF_HUB_OFFLINE is set, so {repo_id} cannot be reached: unset it and run again")
    return HubUnreachable(
        f"the Hub cannot be reached for {repo_id}, or the connection broke: connect and run again "
        f"({summarize_error(error)})"
    )


def _server_message(error: HfHubHTTPError) -> str:
    """Return the first line of the Hub's own message, in parentheses, or an empty text."""
    message = (error.server_message or "").strip().partition("\n")[0].rstrip(".")
    return f" ({message})" if message else ""
