"""What the Hub answers, or that it does not, as errors that say what to do. No message holds a token."""

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

from softprompt.errors import HubRefused, NoNetwork, RepositoryNotFound, SoftPromptError, first_line

LATER = (408, 429, 500, 502, 503, 504)


@contextmanager
def hub_errors(repository: str, revision: str | None = None) -> Iterator[None]:
    """Turn what huggingface_hub raises about a repository into errors that say what to do.

    Raises:
        NoNetwork: the Hub cannot be reached, or is not well.
        HubRefused: not logged in, not allowed, or not as the Hub wants it.
        RepositoryNotFound: no such repository or revision, as far as this account can see.
    """
    try:
        yield
    except (httpx2.HTTPError, OSError, RuntimeError) as error:  # RuntimeError: an upload that broke off
        if _is_of_the_disk(error):
            raise
        root = _root(error)
        if isinstance(root, HfHubHTTPError):
            raise _answered(root, repository, revision) from error
        raise _silent(root, repository) from error


def _is_of_the_disk(error: Exception) -> bool:
    """Whether the operating system refused a file: no concern of the Hub."""
    is_of_the_net = isinstance(error, httpx2.HTTPError | ConnectionError | TimeoutError)
    return isinstance(error, OSError) and error.errno is not None and not is_of_the_net


def _root(error: BaseException) -> BaseException:
    """The Hub's answer or the network's failure that led to an error; the error itself if there is none."""
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, httpx2.HTTPError | OfflineModeIsEnabled):
            return at
        at = at.__cause__
    return error


def _answered(error: HfHubHTTPError, repository: str, revision: str | None) -> SoftPromptError:
    status = error.response.status_code
    match error:
        case GatedRepoError():
            return HubRefused(
                f"{repository} is gated: ask for access on its page, then log in with  hf auth login  or set HF_TOKEN"
            )
        case RevisionNotFoundError():
            return RepositoryNotFound(
                f"{repository} has no revision {revision!r}: give a branch, a tag or a whole commit hash"
            )
        case RepositoryNotFoundError():
            return RepositoryNotFound(
                f"no repository {repository} on the Hub, or it is private and not for this account: check the name, or "
                "log in with  hf auth login  or set HF_TOKEN"
            )
    if status == 401:
        return HubRefused("the Hub does not know this token: log in with  hf auth login  or correct HF_TOKEN")
    if status == 403:
        return HubRefused(
            f"this account or its token may not do that with {repository}{_said(error)}: choose another name, or log "
            "in with a token that may write"
        )
    if status in LATER:
        return NoNetwork(f"the Hub answered {status} for {repository}: try again later")
    return HubRefused(f"the Hub refused {repository} with {status}{_said(error)}: mend that and run again")


def _silent(error: BaseException, repository: str) -> NoNetwork:
    if isinstance(error, OfflineModeIsEnabled):
        return NoNetwork(f"HF_HUB_OFFLINE is set, so {repository} cannot be reached: unset it and run again")
    return NoNetwork(
        f"the Hub cannot be reached, or broke off, for {repository}: connect and run again ({first_line(error)})"
    )


def _said(error: HfHubHTTPError) -> str:
    """The Hub's own words, where it has any."""
    words = (error.server_message or "").strip().partition("\n")[0].rstrip(".")
    return f" ({words})" if words else ""
