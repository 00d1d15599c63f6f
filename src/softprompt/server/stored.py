"""Prompts of a store, as `/v1/prompts` tells of them, and what it says when the store refuses."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from softprompt.errors import (
    DiskFull,
    NothingBefore,
    PromptInUse,
    SavedPromptError,
    SettingError,
    SoftPromptError,
    StorageLimitExceeded,
    TaskError,
    UnknownPrompt,
)
from softprompt.server.failures import in_request_words
from softprompt.server.refusal import Refusal
from softprompt.store import Event, StoredPrompt, Version

logger = logging.getLogger(__name__)


def version_facts(version: Version) -> dict[str, Any]:
    """A version. `model` is what a request names it by."""
    return {
        "object": "prompt.version",
        "model": str(version),
        "name": version.name,
        "version": version.number,
        "content_hash": f"sha256:{version.content}",
        "size": version.size,
        "method": version.method,
        "num_virtual_tokens": version.num_virtual_tokens,
        "task": version.task,
        "created_at": int(version.created_at.timestamp()),
        "created_by": version.created_by,
        "note": version.note,
    }


def prompt_facts(prompt: StoredPrompt) -> dict[str, Any]:
    """A prompt with its aliases and as many of its versions as are told."""
    versions = [version_facts(version) for version in prompt.versions]
    names = {"object": "prompt", "name": prompt.name, "tenant": prompt.tenant}
    return {**names, "aliases": dict(prompt.aliases), "num_versions": prompt.num_versions, "versions": versions}


def event_facts(event: Event) -> dict[str, Any]:
    """Something that was done to a prompt."""
    what = {"object": "prompt.event", "id": event.id, "what": event.what, "version": event.version, "by": event.by}
    return {**what, "at": int(event.at.timestamp()), "details": dict(event.details)}


def list_facts(items: Sequence[Mapping[str, Any]], cursor: str, *, has_more: bool) -> dict[str, Any]:
    """A page of a list, in OpenAI's words.

    Args:
        items: of the page.
        cursor: the field of an item that the next page is asked for by, as `after`.
        has_more: whether there is a next page.
    """
    first, last = (items[0][cursor], items[-1][cursor]) if items else (None, None)
    return {"object": "list", "data": items, "first_id": first, "last_id": last, "has_more": has_more}


@contextmanager
def store_refusals() -> Iterator[None]:
    """Turn what the store and a saved prompt refuse into what is said to the client.

    Raises:
        Refusal: instead of any `SoftPromptError`.
    """
    try:
        yield
    except SoftPromptError as error:
        raise _refusal_of(error) from error


def _refusal_of(error: SoftPromptError) -> Refusal:
    match error:
        case UnknownPrompt():
            return Refusal(404, in_request_words(error), code="prompt_not_found")
        case PromptInUse():
            return Refusal(409, f"{error}".partition(":")[0] + ": activate another version first", code="prompt_in_use")
        case NothingBefore():
            return Refusal(409, in_request_words(error), code="nothing_before")
        case StorageLimitExceeded():
            return Refusal(403, str(error), code="storage_limit_exceeded")
        case SavedPromptError() | TaskError():
            return Refusal(400, in_request_words(error), code="invalid_prompt")
        case SettingError() if error.__cause__ is None:  # else it is the operator's to mend, and names their files
            return Refusal(400, in_request_words(error), code="invalid_value")
        case DiskFull():
            logger.error("a prompt was not stored: %s", error)
            return Refusal(507, "the server has no space left for prompts", kind="server_error", code="no_space")
    logger.error("the store cannot be used: %s", error)
    return Refusal(503, "the prompts cannot be changed now: try again later", kind="server_error", code="store_failed")
