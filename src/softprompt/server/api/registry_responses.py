"""Responses of `/v1/prompts`, and the errors that registry exceptions become."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from softprompt.errors import (
    DiskFull,
    NoPreviousVersion,
    PromptInUse,
    PromptNotFound,
    SavedPromptError,
    SettingError,
    SoftPromptError,
    StorageLimitExceeded,
    TaskError,
)
from softprompt.registry import AuditEvent, PromptVersion, RegisteredPrompt
from softprompt.server.api_errors import ApiError
from softprompt.server.exception_handlers import to_client_message

logger = logging.getLogger(__name__)


def serialize_version(version: PromptVersion) -> dict[str, Any]:
    """Serialize a version. `model` is its id in requests."""
    return {
        "object": "prompt.version",
        "model": str(version),
        "name": version.name,
        "version": version.number,
        "digest": f"sha256:{version.digest}",
        "size_bytes": version.size_bytes,
        "method": version.method,
        "num_virtual_tokens": version.num_virtual_tokens,
        "task": version.task,
        "created_at": int(version.created_at.timestamp()),
        "created_by": version.created_by,
        "note": version.note,
    }


def serialize_prompt(prompt: RegisteredPrompt) -> dict[str, Any]:
    """Serialize a prompt with its aliases and its listed versions."""
    versions = [serialize_version(version) for version in prompt.versions]
    names = {"object": "prompt", "name": prompt.name, "tenant": prompt.tenant}
    return {**names, "aliases": dict(prompt.aliases), "num_versions": prompt.num_versions, "versions": versions}


def serialize_event(event: AuditEvent) -> dict[str, Any]:
    """Serialize an event of the audit log."""
    fields = {
        "object": "prompt.event",
        "id": event.id,
        "action": event.action,
        "version": event.version,
        "actor": event.actor,
    }
    return {**fields, "created_at": int(event.timestamp.timestamp()), "details": dict(event.details)}


def serialize_page(items: Sequence[Mapping[str, Any]], cursor: str, *, has_more: bool) -> dict[str, Any]:
    """Serialize a page of a list in OpenAI's format.

    Args:
        items: items of the page.
        cursor: field of an item that `after` of the next page refers to.
        has_more: whether there is a next page.
    """
    first, last = (items[0][cursor], items[-1][cursor]) if items else (None, None)
    return {"object": "list", "data": items, "first_id": first, "last_id": last, "has_more": has_more}


@contextmanager
def translate_registry_errors() -> Iterator[None]:
    """Convert exceptions of the registry and of saved prompts to errors for the client.

    Raises:
        ApiError: instead of any `SoftPromptError`.
    """
    try:
        yield
    except SoftPromptError as error:
        raise _to_api_error(error) from error


def _to_api_error(error: SoftPromptError) -> ApiError:
    match error:
        case PromptNotFound():
            return ApiError(404, to_client_message(error), code="prompt_not_found")
        case PromptInUse():
            return ApiError(
                409, f"{error}".partition(":")[0] + ": activate another version first", code="prompt_in_use"
            )
        case NoPreviousVersion():
            return ApiError(409, to_client_message(error), code="no_previous_version")
        case StorageLimitExceeded():
            return ApiError(403, str(error), code="storage_limit_exceeded")
        case SavedPromptError() | TaskError():
            return ApiError(400, to_client_message(error), code="invalid_prompt")
        case SettingError() if error.__cause__ is None:  # with a cause, it concerns the operator and names files
            return ApiError(400, to_client_message(error), code="invalid_value")
        case DiskFull():
            logger.error("a prompt could not be stored: %s", error)
            return ApiError(
                507, "the server has no disk space left for prompts", error_type="server_error", code="no_space"
            )
    logger.error("the registry cannot be used: %s", error)
    return ApiError(
        503,
        "prompts cannot be changed at the moment: try again later",
        error_type="server_error",
        code="registry_unavailable",
    )
